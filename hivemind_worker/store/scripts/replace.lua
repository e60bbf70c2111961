-- Note a decision, the promise or the owners' accounts, unless another has changed it since this one read it.
-- KEYS  1 the key
-- ARGV  1 what was read, or ''  2 what is to stand there, or '' for nothing
-- RETURNS 1, or 0 when another was quicker
local stands = redis.call('GET', KEYS[1]) or ''
if stands == ARGV[2] then return 1 end
if stands ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2]) end
return 1
