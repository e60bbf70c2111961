-- Move a held job forward along preparing → running → collecting. A step that already happened succeeds again.
-- KEYS  1 job  2 events
-- ARGV  1 id  2 attempt  3 target state  4 changes channel
-- RETURNS 1, or 0 when the attempt was fenced off or the job has ended
local order = { admitted = 1, preparing = 2, running = 3, collecting = 4 }
local known = redis.call('HMGET', KEYS[1], 'state', 'attempt', 'started')
local stands, target = order[known[1]], order[ARGV[3]]
if known[2] ~= ARGV[2] or not stands then return 0 end
if stands >= target then return 1 end
redis.call('HSET', KEYS[1], 'state', ARGV[3])
if ARGV[3] == 'running' and not known[3] then redis.call('HSET', KEYS[1], 'started', now_ms()) end
emit(KEYS[2], ARGV[4], ARGV[1], ARGV[3], ARGV[2])
return 1
