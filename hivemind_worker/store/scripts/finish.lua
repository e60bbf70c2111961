-- End a held job: outcome, record and release in one step. A repeat by the same hands succeeds.
-- KEYS  1 job  2 reservations:<node>  3 active  4 events  5 secrets  6 log
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
end_job({ job = KEYS[1], reservations = KEYS[2], active = KEYS[3], events = KEYS[4], secrets = KEYS[5], log = KEYS[6],
  changes = ARGV[9], wake = ARGV[10], log_retention = ARGV[7], retention = ARGV[8] },
  ARGV[1], ARGV[2], ARGV[4], ARGV[5], ARGV[6])
return 'done'
