-- Records as they are after a certain event, all at one moment.
-- KEYS  1 events, then job records
-- RETURNS {id of the newest event, then each record as HGETALL gives it}
local found = { last_id(KEYS[1]) }
for i = 2, #KEYS do found[i] = redis.call('HGETALL', KEYS[i]) end
return found
