-- Make an assignment durable: record, place in the line, event; all or nothing, and the same again when repeated.
-- KEYS  1 job  2 waiting:<shape>  3 waiting (all)  4 shapes  5 active  6 index  7 events  8 secrets
-- ARGV  1 id  2 spec JSON  3 digest  4 shape  5 head start (ms)  6 sealed secrets or ''  7 most that may wait
--       8 changes channel  9 wake channel  10 timeout (s)
-- RETURNS {'created'|'same'|'conflict'|'full', state}
if redis.call('EXISTS', KEYS[1]) == 1 then
  local known = redis.call('HMGET', KEYS[1], 'digest', 'state')
  return { known[1] == ARGV[3] and 'same' or 'conflict', known[2] }
end
if redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[7]) then return { 'full', '' } end
local now = now_ms()
local score = now - tonumber(ARGV[5])
redis.call('HSET', KEYS[1], 'version', 1, 'spec', ARGV[2], 'digest', ARGV[3], 'state', 'waiting',
  'attempt', 0, 'failures', 0, 'created', now, 'rank', score, 'timeout', ARGV[10])
redis.call('ZADD', KEYS[2], score, ARGV[1])
redis.call('ZADD', KEYS[3], score, ARGV[1])
redis.call('SADD', KEYS[4], ARGV[4])
redis.call('ZADD', KEYS[5], now, ARGV[1])
redis.call('ZADD', KEYS[6], now, ARGV[1])
if ARGV[6] ~= '' then redis.call('SET', KEYS[8], ARGV[6]) end
emit(KEYS[7], ARGV[8], ARGV[1], 'waiting', 0)
redis.call('PUBLISH', ARGV[9], 'arrival')
return { 'created', 'waiting' }
