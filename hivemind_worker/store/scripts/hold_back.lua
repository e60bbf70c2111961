-- A job on its last chance waits until this boot has shown that it lives without it. If an earlier boot died while it
-- waited like this, the job is not what kills them: it is acquitted.
-- KEYS  1 job
-- ARGV  1 attempt  2 worker  3 boot
-- RETURNS 1 when it was acquitted, else 0
if standing(KEYS[1], ARGV[1], ARGV[2]) ~= 'mine' then return 0 end
local known = redis.call('HMGET', KEYS[1], 'held_back_by', 'trial')
if known[1] and known[1] ~= ARGV[3] and known[1] ~= known[2] then
  redis.call('HDEL', KEYS[1], 'held_back_by', 'trial', 'trial_at', 'trial_worker', 'downs', 'downs_seen')
  return 1
end
redis.call('HSET', KEYS[1], 'held_back_by', ARGV[3])
return 0
