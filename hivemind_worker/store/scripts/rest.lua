-- A body lets go of its attempt in order: whatever ends its process later, this job is not on trial for it.
-- KEYS  1 job
-- ARGV  1 attempt  2 boot
-- RETURNS 1, or 0 when another has it
local known = redis.call('HMGET', KEYS[1], 'attempt', 'trial')
if known[1] ~= ARGV[1] or known[2] ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], 'trial', 'trial_at', 'trial_worker')
return 1
