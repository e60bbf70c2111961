-- Move a held job forward along preparing → running → collecting. A step that already happened succeeds again.
-- KEYS  1 job  2 events
-- ARGV  1 id  2 attempt  3 worker  4 target state  5 changes channel
-- RETURNS 'done', or 'adopted' or 'stale' when the caller was fenced off or the job has ended
local order = { admitted = 1, preparing = 2, running = 3, collecting = 4 }
local whose = standing(KEYS[1], ARGV[2], ARGV[3])
if whose ~= 'mine' then return whose end
local known = redis.call('HMGET', KEYS[1], 'state', 'started')
local stands, target = order[known[1]], order[ARGV[4]]
if not stands then return 'stale' end
if stands >= target then return 'done' end
redis.call('HSET', KEYS[1], 'state', ARGV[4])
if ARGV[4] == 'running' and not known[2] then redis.call('HSET', KEYS[1], 'started', now_ms()) end
emit(KEYS[2], ARGV[5], ARGV[1], ARGV[4], ARGV[2])
return 'done'
