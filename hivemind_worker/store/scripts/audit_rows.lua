-- Drop or correct the rows of one node that their records do not stand behind. First, a key of another kind than its
-- name says is put aside, so that nobody stumbles over it again and again.
-- KEYS  1 reservations:<node>  2 node  3 quarantine (index)  4 quarantined rows  5 active; from here on pairs with
--       ARGV's kinds: keys of the site that must be of a kind
-- ARGV  1 node  2 prefix of the job keys  3 prefix of the quarantine  4 seconds that what is put aside stays, then kinds
-- RETURNS pairs of id (or key) and what was put right
local found = {}

local function tell(id, what)
  found[#found + 1] = id
  found[#found + 1] = what
end

local function aside(key, wanted)
  local kind = redis.call('TYPE', key).ok
  if kind == 'none' or kind == wanted then return end
  local kept = ARGV[3] .. key
  redis.call('RENAME', key, kept)
  redis.call('EXPIRE', kept, ARGV[4])
  redis.call('ZADD', KEYS[3], now_ms(), kept)
  tell(key, 'put aside: it is a ' .. kind .. ', not a ' .. wanted)
end

aside(KEYS[3], 'zset')
aside(KEYS[4], 'hash')
aside(KEYS[1], 'hash')
aside(KEYS[2], 'hash')
for i = 5, #KEYS do aside(KEYS[i], ARGV[i]) end

local rows = redis.call('HGETALL', KEYS[1])
for i = 1, #rows, 2 do
  local id, raw = rows[i], rows[i + 1]
  local job = ARGV[2] .. id
  local known = redis.pcall('HMGET', job, 'state', 'node', 'row', 'version', 'created')
  if not known.err and (tonumber(known[4] or '') or 0) <= VERSION then
    local readable = is_row(raw)
    -- A row that was damaged in the record is no truth to hold the ledger's against.
    if known[3] and not (known[3] == raw and readable or is_row(known[3])) then
      redis.call('HDEL', job, 'row')
      known[3] = nil
      tell(id, 'row taken out of its record: it cannot be read')
    end
    if not readable then
      redis.call('HSET', KEYS[4], ARGV[1] .. '/' .. id, raw)
      redis.call('EXPIRE', KEYS[4], ARGV[4])
      redis.call('ZADD', KEYS[3], now_ms(), KEYS[4] .. ' ' .. ARGV[1] .. '/' .. id)
    end
    if not held(known[1]) or known[2] ~= ARGV[1] then
      redis.call('HDEL', KEYS[1], id)
      tell(id, 'row dropped: ' .. (known[1] and ('its job is ' .. known[1] .. ' elsewhere') or 'it has no job'))
    elseif known[3] and known[3] ~= raw then
      redis.call('HSET', KEYS[1], id, known[3])
      tell(id, 'row corrected')
    elseif not known[3] and readable then
      redis.call('HSET', job, 'row', raw)
    elseif not known[3] then
      redis.call('HDEL', KEYS[1], id)
      tell(id, 'row dropped: it cannot be read')
    end
    if held(known[1]) and numeric(known[5]) and redis.call('ZADD', KEYS[5], 'NX', known[5], id) == 1 then
      tell(id, 'put back among the active')
    end
  end
end
return found
