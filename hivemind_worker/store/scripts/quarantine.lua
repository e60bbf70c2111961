-- Put a damaged record aside, and end its job: it is kept as it is under another name, what it held is released, and
-- whoever asks for the job is told what happened to it. Repeated, it changes nothing.
-- KEYS  1 job  2 its copy  3 quarantine (index)  4 active  5 index  6 waiting (all)  7 shapes  8 delayed  9 nodes
--       10 events  11 secrets  12 log
-- ARGV  1 id  2 outcome JSON  3 prefix of the ledgers  4 seconds that the copy stays  5 retention of the record (s)
--       6 retention of the log (s)  7 changes channel  8 wake channel
-- RETURNS 1, or 0 when there is nothing to put aside (any more)
local id = ARGV[1]
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local known = redis.pcall('HMGET', KEYS[1], 'state', 'attempt', 'created')
local attempt, created = 0, now_ms()
if known.err then
  redis.call('RENAME', KEYS[1], KEYS[2])
else
  if terminal(known[1]) then return 0 end
  redis.call('COPY', KEYS[1], KEYS[2], 'REPLACE')
  attempt = tonumber(known[2] or '') or 0
  created = tonumber(known[3] or '') or created
end
redis.call('EXPIRE', KEYS[2], ARGV[4])
redis.call('ZADD', KEYS[3], now_ms(), KEYS[2])
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1001)
leave_line(KEYS[6] .. ':', KEYS[6], KEYS[7], '', id)
for _, shape in ipairs(redis.call('SMEMBERS', KEYS[7])) do
  leave_line(KEYS[6] .. ':' .. shape, KEYS[6], KEYS[7], shape, id)
end
redis.call('ZREM', KEYS[8], id)
for _, node in ipairs(redis.call('SMEMBERS', KEYS[9])) do redis.call('HDEL', ARGV[3] .. node, id) end
if not redis.call('ZSCORE', KEYS[5], id) then redis.call('ZADD', KEYS[5], created, id) end
redis.call('HSET', KEYS[1], 'version', VERSION, 'attempt', attempt, 'created', created)
end_job({ job = KEYS[1], active = KEYS[4], events = KEYS[10], secrets = KEYS[11], log = KEYS[12], changes = ARGV[7],
  wake = ARGV[8], retention = ARGV[5], log_retention = ARGV[6] }, id, attempt, 'failed', ARGV[2], 'internal')
return 1
