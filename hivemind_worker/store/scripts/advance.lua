-- Move a held job forward along preparing → running → collecting. A step that already happened succeeds again.
-- KEYS  1 job  2 events
-- ARGV  1 id  2 attempt  3 worker  4 target state  5 changes channel  6 prefix of reservations
--       7 milliseconds since it came there: Redis may have been away
-- RETURNS 'done', or 'adopted' or 'stale' when the caller was fenced off or the job has ended
local order = { admitted = 1, preparing = 2, running = 3, collecting = 4 }
local whose = standing(KEYS[1], ARGV[2], ARGV[3])
if whose ~= 'mine' then return whose end
local known = redis.call('HMGET', KEYS[1], 'state', 'started', 'node')
local stands, target = order[known[1]], order[ARGV[4]]
if not stands then return 'stale' end
if stands >= target then return 'done' end

-- The timeout counts from here: the row's end is what it declares from now on, no longer what was allowed for the start.
-- By text: cjson would make an object of the row's empty list of devices.
local function started(now)
  redis.call('HSET', KEYS[1], 'started', now)
  local rows = ARGV[6] .. (known[3] or '')
  local row = redis.call('HGET', rows, ARGV[1]) or ''
  local from_start = tonumber(string.match(row, '"from_start":(%d+)') or '') or 0
  if from_start == 0 then return end
  row = string.gsub(row, '"deadline":%d+', string.format('"deadline":%.0f', now + from_start))
  row = string.gsub(row, '"from_start":%d+', '"from_start":0')
  redis.call('HSET', rows, ARGV[1], row)
  redis.call('HSET', KEYS[1], 'row', row)
end

redis.call('HSET', KEYS[1], 'state', ARGV[4])
if ARGV[4] == 'running' and not known[2] then started(now_ms() - ARGV[7]) end
emit(KEYS[2], ARGV[5], ARGV[1], ARGV[4], ARGV[2])
return 'done'
