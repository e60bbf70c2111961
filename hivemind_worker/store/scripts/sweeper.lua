-- Who sweeps the site: one worker at a time, as long as it asks again within its term.
-- KEYS  1 sweeper
-- ARGV  1 worker  2 term (ms)
-- RETURNS 1 for the sweeper, else 0
local who = redis.call('GET', KEYS[1])
if who and who ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
