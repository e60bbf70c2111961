-- Write chunks of a job's live log, in order, and tell its followers. Chunks that are there already stay as they are.
-- KEYS  1 job  2 log
-- ARGV  1 attempt  2 worker  3 changes channel, then per chunk: number, stream, data, at, stdout end, stderr end
-- RETURNS 'done', or 'adopted' or 'stale' when the caller was fenced off
local whose = standing(KEYS[1], ARGV[1], ARGV[2])
if whose == 'stale' then
  -- The rest of an attempt that gave the job back itself, as long as none has followed.
  local known = redis.call('HMGET', KEYS[1], 'attempt', 'last_worker')
  if known[1] == ARGV[1] and known[2] == ARGV[2] then whose = 'mine' end
end
if whose ~= 'mine' then return whose end
local newest = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
local last = newest and tonumber(string.match(newest[1], '^%d+')) or 0
for i = 4, #ARGV, 6 do
  if tonumber(ARGV[i]) > last then
    redis.call('XADD', KEYS[2], ARGV[i] .. '-0', 's', ARGV[i + 1], 'd', ARGV[i + 2], 't', ARGV[i + 3], 'a', ARGV[1],
      'o', ARGV[i + 4], 'e', ARGV[i + 5])
  end
end
-- A log that Redis was away for comes after its job's end, and must not stay for ever.
local left = redis.call('TTL', KEYS[1])
if left > 0 and redis.call('TTL', KEYS[2]) == -1 then redis.call('EXPIRE', KEYS[2], left) end
redis.call('PUBLISH', ARGV[3], 'log')
return 'done'
