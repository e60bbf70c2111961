-- Give a held job back to the waiting line for its next attempt, releasing what it held, in one step.
-- KEYS  1 job  2 reservations:<node>  3 waiting:<shape>  4 waiting (all)  5 shapes  6 delayed  7 events
-- ARGV  1 id  2 attempt that ended  3 worker  4 shape  5 cause  6 evidence  7 exit code or ''
--       8 'failures' or 'infra_failures': the budget that is charged  9 delay (ms)  10 changes channel  11 wake channel
-- RETURNS 'done', 'adopted' or 'stale' when the caller was fenced off, or 'stop' when a stop was asked for: finish it
local whose = standing(KEYS[1], ARGV[2], ARGV[3])
local known = redis.call('HMGET', KEYS[1], 'state', 'stop_grace', 'attempt', 'last_worker')
if known[1] == 'waiting' and known[3] == ARGV[2] and known[4] == ARGV[3] then
  redis.call('HINCRBY', KEYS[1], 'repeats', 1)  -- a write, see create.lua
  return 'done'
end
if whose ~= 'mine' then return whose end
if not held(known[1]) then return 'stale' end
if known[2] then return 'stop' end
remember(KEYS[1], ARGV[5], ARGV[6], ARGV[7])
redis.call('HINCRBY', KEYS[1], ARGV[8], 1)
redis.call('HDEL', KEYS[1], 'downs', 'downs_seen')
-- What these hands still have of the log may come until the next attempt begins.
redis.call('HSET', KEYS[1], 'last_worker', ARGV[3])
back_to_line({ job = KEYS[1], reservations = KEYS[2], waiting = KEYS[3], waiting_all = KEYS[4], shapes = KEYS[5],
  delayed = KEYS[6], events = KEYS[7], changes = ARGV[10], wake = ARGV[11] },
  ARGV[1], ARGV[4], ARGV[2], ARGV[5], tonumber(ARGV[9]))
return 'done'
