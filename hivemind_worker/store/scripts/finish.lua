-- End a held job: outcome, record and release in one step. A repeat by the same attempt succeeds.
-- KEYS  1 job  2 reservations:<node>  3 active  4 events  5 secrets  6 log
-- ARGV  1 id  2 attempt  3 terminal state  4 outcome JSON  5 cause  6 retention of the log (s)  7 changes channel
--       8 wake channel  9 retention of the record (s)
-- RETURNS 1, or 0 when the attempt was fenced off
local known = redis.call('HMGET', KEYS[1], 'state', 'attempt')
if known[2] ~= ARGV[2] then return 0 end
if known[1] == 'completed' or known[1] == 'failed' or known[1] == 'stopped' then
  redis.call('HDEL', KEYS[2], ARGV[1])
  return 1
end
if known[1] == 'waiting' then return 0 end
redis.call('HSET', KEYS[1], 'state', ARGV[3], 'outcome', ARGV[4], 'finished', now_ms())
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('DEL', KEYS[5])
redis.call('EXPIRE', KEYS[1], ARGV[9])
redis.call('EXPIRE', KEYS[6], ARGV[6])
emit(KEYS[4], ARGV[7], ARGV[1], ARGV[3], ARGV[2], ARGV[5])
redis.call('PUBLISH', ARGV[8], 'release')
return 1
