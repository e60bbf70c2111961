-- Note the reservation of the head of the line, unless another plan has changed it since this one read it.
-- KEYS  1 promise
-- ARGV  1 what the plan read, or ''  2 what it decided, or '' when nobody waits for room
-- RETURNS 1, or 0 when another plan was quicker
local stands = redis.call('GET', KEYS[1]) or ''
if stands == ARGV[2] then return 1 end
if stands ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2]) end
return 1
