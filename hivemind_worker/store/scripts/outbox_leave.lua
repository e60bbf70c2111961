-- Give the lead back, so that the next one need not wait.
-- KEYS  1 lead
-- ARGV  1 term
-- RETURNS 1, or 0 when it was another's already
local held = redis.call('GET', KEYS[1])
if not held or string.match(held, '^(%d+) ') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
return 1
