-- A worker takes up the attempt whose reservation it holds. Claiming again by the same worker succeeds again.
-- KEYS  1 job  2 reservations:<node>  3 events
-- ARGV  1 id  2 attempt  3 worker  4 changes channel
-- RETURNS the job's fields as HGETALL does, or nil when the attempt is not this worker's to run
local known = redis.call('HMGET', KEYS[1], 'state', 'attempt', 'worker', 'version')
if (tonumber(known[4] or '') or 0) > VERSION then return nil end
if known[2] ~= ARGV[2] or known[3] ~= ARGV[3] then return nil end
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 0 then return nil end
if known[1] == 'admitted' then
  redis.call('HSET', KEYS[1], 'state', 'preparing')
  emit(KEYS[3], ARGV[4], ARGV[1], 'preparing', ARGV[2])
elseif known[1] ~= 'preparing' and known[1] ~= 'running' and known[1] ~= 'collecting' then
  return nil
end
return redis.call('HGETALL', KEYS[1])
