-- Keep what could be read of a damaged log chunk. The chunk stays where it is: its number is taken.
-- KEYS  1 quarantined chunks  2 quarantine (index)
-- ARGV  1 name of the chunk  2 what could be read  3 seconds that it stays
-- RETURNS 1, or 0 when it is kept already
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('ZADD', KEYS[2], now_ms(), KEYS[1] .. ' ' .. ARGV[1])
return 1
