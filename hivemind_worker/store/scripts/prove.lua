-- A body has lived long with this attempt in its present state: a worker that dies in it later does not die of it.
-- KEYS  1 job
-- ARGV  1 attempt  2 worker
-- RETURNS 1, or 0 when it is in other hands
if standing(KEYS[1], ARGV[1], ARGV[2]) ~= 'mine' then return 0 end
local state = redis.call('HGET', KEYS[1], 'state')
if not held(state) then return 0 end
redis.call('HSET', KEYS[1], 'steady', state)
redis.call('HDEL', KEYS[1], 'trial', 'trial_at', 'trial_worker', 'downs', 'downs_seen')
return 1
