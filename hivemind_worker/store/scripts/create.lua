-- Make an assignment durable: record, place in the line, event; all or nothing, and the same again when repeated.
-- KEYS  1 job  2 waiting:<shape>  3 waiting (all)  4 shapes  5 active  6 index  7 events  8 secrets
--       9 the owner's part of the line  10 the owner's rate
-- ARGV  1 id  2 spec JSON  3 digest  4 shape  5 head start (ms)  6 sealed secrets or ''  7 most that may wait
--       8 changes channel  9 wake channel  10 timeout (s)  11 owner  12 most of the owner's that may wait or ''
--       13 the owner's assignments a second or ''  14 how many of them at once  15 home or ''
-- RETURNS {'created'|'same'|'conflict', state}, {'full'|'owner_full', ''} or {'too_fast', ms until the next may come}
if redis.call('EXISTS', KEYS[1]) == 1 then
  local known = redis.call('HMGET', KEYS[1], 'digest', 'state')
  -- Asked again: a write, so that whoever waits for the disk waits for the first one too, made on another connection.
  redis.call('HINCRBY', KEYS[1], 'repeats', 1)
  return { known[1] == ARGV[3] and 'same' or 'conflict', known[2] }
end
if redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[7]) then return { 'full', '' } end
local function owner_full() return redis.call('ZCARD', KEYS[9]) >= tonumber(ARGV[12]) end
if ARGV[12] ~= '' and owner_full() then
  -- Whatever left the line without leaving the owner's part of it must not count for ever: look at the oldest.
  for _, id in ipairs(redis.call('ZRANGE', KEYS[9], 0, 99)) do
    if not redis.call('ZSCORE', KEYS[3], id) then redis.call('ZREM', KEYS[9], id) end
  end
  if owner_full() then return { 'owner_full', '' } end
end
local now = now_ms()
if ARGV[13] ~= '' then
  -- A token bucket: it fills at the rate, holds as many as may come at once, and each new job takes one.
  local rate, burst = tonumber(ARGV[13]) / 1000, tonumber(ARGV[14])
  local bucket = redis.call('HMGET', KEYS[10], 'tokens', 'at')
  local since = math.max(0, now - tonumber(bucket[2] or now))
  local tokens = math.min(burst, tonumber(bucket[1] or burst) + since * rate)
  if tokens < 1 then return { 'too_fast', tostring(math.ceil((1 - tokens) / rate)) } end
  redis.call('HSET', KEYS[10], 'tokens', string.format('%.9g', tokens - 1), 'at', now)
  redis.call('PEXPIRE', KEYS[10], math.ceil(burst / rate) + 1000)
end
local score = now - tonumber(ARGV[5])
redis.call('HSET', KEYS[1], 'version', VERSION, 'shape', ARGV[4], 'spec', ARGV[2], 'digest', ARGV[3], 'state', 'waiting',
  'attempt', 0, 'failures', 0, 'created', now, 'rank', score, 'timeout', ARGV[10], 'owner', ARGV[11],
  'home', ARGV[15])
join_line(KEYS[2], KEYS[3], KEYS[4], ARGV[4], ARGV[1], score)
redis.call('ZADD', KEYS[5], now, ARGV[1])
redis.call('ZADD', KEYS[6], now, ARGV[1])
if ARGV[6] ~= '' then redis.call('SET', KEYS[8], ARGV[6]) end
emit(KEYS[7], ARGV[8], ARGV[1], 'waiting', 0)
redis.call('PUBLISH', ARGV[9], 'arrival')
return { 'created', 'waiting' }
