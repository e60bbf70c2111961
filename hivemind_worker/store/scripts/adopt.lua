-- Take over the row of a dead worker: same attempt, same container, another pair of hands.
-- KEYS  1 job  2 reservations:<node>  3 lease of the dead worker
-- ARGV  1 id  2 attempt  3 dead worker  4 new worker  5 row JSON
-- RETURNS 1, or 0 when that worker lives or the row is another by now
if redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
local known = redis.call('HMGET', KEYS[1], 'attempt', 'worker', 'version')
if (tonumber(known[3] or '') or 0) > VERSION then return 0 end
if known[1] ~= ARGV[2] or known[2] ~= ARGV[3] or redis.call('HEXISTS', KEYS[2], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'worker', ARGV[4], 'row', ARGV[5])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[5])
return 1
