-- Read on for a group: what was taken before and never settled, then what is new. Finds out whether events were trimmed
-- before the group had read them; then it notes from where on, and the group goes on at the stream's end.
-- KEYS  1 lead  2 outbox  3 events
-- ARGV  1 term  2 term in ms  3 group  4 most  5 id after which unsettled ones are wanted, or '>' for new ones
--       6 1: a group that is made here has everything on record to look through
-- RETURNS {'fenced'} | {'ok', entries, resync}: entries as XREADGROUP gives them (fields false: trimmed),
--         resync as noted, JSON, or ''
if not leads(KEYS[1], KEYS[2], ARGV[1], ARGV[2]) then return { 'fenced' } end
local events, group = KEYS[3], ARGV[3]

local function go_on_at_the_end(since)
  note_gap(KEYS[2], since)
  redis.call('XGROUP', 'SETID', events, group, last_id(events))
end

local at = field(group_of(events, KEYS[2], group, ARGV[6]), 'last-delivered-id')
if at ~= '0-0' and #redis.call('XRANGE', events, at, at) == 0 then
  -- What was read last is no longer there. If the stream still begins before it, it was taken out alone.
  local first = redis.call('XRANGE', events, '-', '+', 'COUNT', 1)[1]
  if first and later(first[1], at) then go_on_at_the_end(at) end
end

local read = redis.call('XREADGROUP', 'GROUP', group, 'leader', 'COUNT', ARGV[4], 'STREAMS', events, ARGV[5])
local entries = read and read[1] and read[1][2] or {}
for _, entry in ipairs(entries) do
  if not entry[2] then
    -- Taken before, never settled, and gone since. The unsettled come oldest first, so this is where the gap begins.
    go_on_at_the_end(entry[1])
    break
  end
end
return { 'ok', entries, redis.call('HGET', KEYS[2], 'resync') or '' }
