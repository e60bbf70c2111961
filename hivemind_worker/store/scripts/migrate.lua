-- Write a record of an older release as this one does.
-- KEYS  1 job
-- ARGV  1 the version it was read as, then names and values of the fields that are new
-- RETURNS 1, or 0 when it is of another version by now
if redis.call('HGET', KEYS[1], 'version') ~= ARGV[1] then return 0 end
for i = 2, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
return 1
