-- End a held job: outcome, record and release in one step. A repeat by the same hands succeeds.
-- KEYS  1 job  2 reservations:<node>  3 active  4 events  5 secrets  6 log  7 runs  8 runs, by when they were written
-- ARGV  1 id  2 attempt  3 worker  4 terminal state  5 outcome JSON  6 cause  7 retention of the log (s)
--       8 retention of the record (s)  9 changes channel  10 wake channel
-- RETURNS 'done', or 'adopted' or 'stale' when the caller was fenced off
local whose = standing(KEYS[1], ARGV[2], ARGV[3])
if whose ~= 'mine' then return whose end
local state = redis.call('HGET', KEYS[1], 'state')
if terminal(state) then
  redis.call('HDEL', KEYS[2], ARGV[1])
  redis.call('HINCRBY', KEYS[1], 'repeats', 1)  -- a write, see create.lua
  return 'done'
end
if not held(state) then return 'stale' end

-- How long it ran, for those of its kind that come: the last ten runs of each kind, the last 20,000 kinds.
local RUNS, KINDS = 10, 20000
local function note_run()
  local known = redis.call('HMGET', KEYS[1], 'shape', 'started')
  local shape, kind = string.match(known[1] or '', '^([^/]*)/(%x+)')
  if not kind or not tonumber(known[2] or '') then return end
  local now = now_ms()
  for _, field in ipairs({ kind, kind .. ':' .. shape }) do
    local runs = {}
    for run in string.gmatch(redis.call('HGET', KEYS[7], field) or '', '%d+') do runs[#runs + 1] = run end
    runs[#runs + 1] = string.format('%.0f', math.max(0, now - known[2]))
    redis.call('HSET', KEYS[7], field, table.concat(runs, ' ', math.max(1, #runs - RUNS + 1)))
    redis.call('ZADD', KEYS[8], now, field)
  end
  for _, field in ipairs(redis.call('ZRANGE', KEYS[8], 0, redis.call('ZCARD', KEYS[8]) - KINDS - 1)) do
    redis.call('ZREM', KEYS[8], field)
    redis.call('HDEL', KEYS[7], field)
  end
end
-- What was stopped, or lost to the node, says nothing of how long its kind runs.
local telling = { ok = true, exit = true, oom = true, timeout = true, disk = true }
if telling[ARGV[6]] then note_run() end
end_job({ job = KEYS[1], reservations = KEYS[2], active = KEYS[3], events = KEYS[4], secrets = KEYS[5], log = KEYS[6],
  changes = ARGV[9], wake = ARGV[10], log_retention = ARGV[7], retention = ARGV[8] },
  ARGV[1], ARGV[2], ARGV[4], ARGV[5], ARGV[6])
return 'done'
