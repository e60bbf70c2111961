-- A heartbeat's first word: a worker's name belongs to one owner, and only the owner renews its lease.
-- KEYS  1 node:<node>  2 lease of the worker
-- ARGV  1 worker  2 owner  3 lease (ms)  4 '1': whoever had the name is gone
-- RETURNS 1 and the time (epoch ms), or 0 and how long another's lease is good for (ms; negative: it has none)
local field = 'owner:' .. ARGV[1]
local owner = redis.call('HGET', KEYS[1], field)
if owner and owner ~= '' and owner ~= ARGV[2] and ARGV[4] ~= '1' then return {0, redis.call('PTTL', KEYS[2])} end
redis.call('HSET', KEYS[1], field, ARGV[2])
redis.call('SET', KEYS[2], '1', 'PX', ARGV[3])
return {1, now_ms()}
