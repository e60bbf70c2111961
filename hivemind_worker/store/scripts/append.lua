-- Write chunks of a job's live log, in order, and tell its followers. Chunks that are there already stay as they are.
-- What somebody else put where chunks are yet to come is put aside: it would keep all of them out.
-- KEYS  1 job  2 log  3 quarantined chunks  4 quarantine (index)
-- ARGV  1 attempt  2 worker  3 changes channel  4 id  5 seconds that what is put aside stays,
--       then per chunk: number, stream, data, at, stdout end, stderr end
-- RETURNS 'done', or 'adopted' or 'stale' when the caller was fenced off
local whose = standing(KEYS[1], ARGV[1], ARGV[2])
if whose == 'stale' then
  -- The rest of an attempt that gave the job back itself, as long as none has followed.
  local known = redis.call('HMGET', KEYS[1], 'attempt', 'last_worker')
  if known[1] == ARGV[1] and known[2] == ARGV[2] then whose = 'mine' end
end
if whose ~= 'mine' then return whose end

local function number_of(entry) return tonumber(string.match(entry[1], '^%d+')) end

local function is_chunk(entry)
  for i = 1, #entry[2], 2 do
    if entry[2][i] == 'a' then return true end
  end
  return false
end

local function newest()
  return redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
end

-- Redis never takes a number below one that it has seen, deleted or not: what stays is written anew.
local function put_aside_from(first)
  local entries = redis.call('XRANGE', KEYS[2], '-', '+')
  redis.call('DEL', KEYS[2])
  for _, entry in ipairs(entries) do
    if number_of(entry) >= first and not is_chunk(entry) then
      local name = ARGV[4] .. '/' .. entry[1]
      redis.call('HSET', KEYS[3], name, string.sub(table.concat(entry[2], ' '), 1, 1000))
      redis.call('EXPIRE', KEYS[3], ARGV[5])
      redis.call('ZADD', KEYS[4], now_ms(), KEYS[3] .. ' ' .. name)
    else
      redis.call('XADD', KEYS[2], entry[1], unpack(entry[2]))
    end
  end
end

local top = newest()
if top and number_of(top) >= tonumber(ARGV[6]) and not is_chunk(top) then
  put_aside_from(tonumber(ARGV[6]))
  top = newest()
end
local last = top and number_of(top) or 0
for i = 6, #ARGV, 6 do
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
