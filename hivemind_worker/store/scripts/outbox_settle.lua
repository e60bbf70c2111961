-- Be done with events: delivered ones, and ones that are set aside with the reason. Repeated, it counts nothing twice.
-- KEYS  1 lead  2 outbox  3 events  4 set aside
-- ARGV  1 term  2 term in ms  3 group  4 how many were delivered, then their ids, then per one set aside: id, JSON
-- RETURNS 1, or 0 when the term is over
if not leads(KEYS[1], KEYS[2], ARGV[1], ARGV[2]) then return 0 end
local delivered, newest = tonumber(ARGV[4]), redis.call('HGET', KEYS[2], 'delivered_id') or '0-0'
local count = 0
for i = 5, 4 + delivered do
  count = count + redis.call('XACK', KEYS[3], ARGV[3], ARGV[i])
  if later(ARGV[i], newest) then newest = ARGV[i] end
end
if count > 0 then
  redis.call('HINCRBY', KEYS[2], 'delivered', count)
  redis.call('HSET', KEYS[2], 'delivered_id', newest, 'delivered_at', now_ms())
end
for i = 5 + delivered, #ARGV, 2 do
  if redis.call('XACK', KEYS[3], ARGV[3], ARGV[i]) == 1 then
    redis.call('HINCRBY', KEYS[2], 'refused', 1)
    redis.call('XADD', KEYS[4], 'MAXLEN', '~', 1000, '*', 'event', ARGV[i], 'why', ARGV[i + 1])
  end
end
-- Everything before this is settled. Kept beside the stream, for should that be lost, its group is lost with it.
local pending = redis.pcall('XPENDING', KEYS[3], ARGV[3])
if not pending.err then redis.call('HSET', KEYS[2], 'settled_to', pending[2] or newest) end
return 1
