-- Put a key aside that is of another kind than its name says, so that nobody stumbles over it again and again.
-- KEYS  1 key  2 where it is kept  3 quarantine (index)
-- ARGV  1 the kind that it should be of  2 seconds that it stays
-- RETURNS 1, or 0 when there is nothing wrong with it
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' or kind == ARGV[1] then return 0 end
redis.call('RENAME', KEYS[1], KEYS[2])
redis.call('EXPIRE', KEYS[2], ARGV[2])
redis.call('ZADD', KEYS[3], now_ms(), KEYS[2])
return 1
