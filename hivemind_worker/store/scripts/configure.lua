-- Change what an operator decides about a node: its state, its caps, cordons. A heartbeat leaves these fields alone.
-- KEYS  1 node
-- ARGV  1 wake channel, then per field: its name, its value or '' to take it away
-- RETURNS 1, or 0 when there is no such node
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
for i = 2, #ARGV, 2 do
  if ARGV[i + 1] == '' then redis.call('HDEL', KEYS[1], ARGV[i]) else redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
end
redis.call('PUBLISH', ARGV[1], 'node')
return 1
