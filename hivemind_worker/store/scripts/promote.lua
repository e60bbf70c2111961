-- Put jobs whose time has come into their shapes' lines. One whose record cannot be read keeps nobody waiting: the sweep
-- sees to it.
-- KEYS  1 delayed  2 shapes
-- ARGV  1 prefix of the job keys  2 prefix of the shapes' lines  3 wake channel  4 most at once
-- RETURNS how many
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms(), 'LIMIT', 0, ARGV[4])
for _, id in ipairs(due) do
  local job = ARGV[1] .. id
  local known = redis.pcall('HMGET', job, 'state', 'shape', 'rank')
  if not known.err and known[1] == 'waiting' and known[2] and numeric(known[3]) then
    redis.call('ZADD', ARGV[2] .. known[2], known[3], id)
    redis.call('SADD', KEYS[2], known[2])
    redis.call('HDEL', job, 'not_before')
  end
  redis.call('ZREM', KEYS[1], id)
end
if #due > 0 then redis.call('PUBLISH', ARGV[3], 'arrival') end
return #due
