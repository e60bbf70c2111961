-- Give a held job back to the waiting line for its next attempt, releasing what it held, in one step.
-- KEYS  1 job  2 reservations:<node>  3 waiting:<shape>  4 waiting (all)  5 shapes  6 events
-- ARGV  1 id  2 attempt that ended  3 shape  4 outcome JSON of that attempt  5 cause  6 1 if it counts as the job's own
--       failure, else 0  7 changes channel  8 wake channel
-- RETURNS 1, or 0 when the attempt was fenced off, or 2 when a stop was asked for: finish it instead
local known = redis.call('HMGET', KEYS[1], 'state', 'attempt', 'rank', 'stop_grace')
if known[2] ~= ARGV[2] then return 0 end
if known[1] == 'waiting' then return 1 end
if known[1] == 'completed' or known[1] == 'failed' or known[1] == 'stopped' then return 0 end
if known[4] then return 2 end
redis.call('HSET', KEYS[1], 'state', 'waiting', 'last_outcome', ARGV[4], 'node', '', 'worker', '')
redis.call('HDEL', KEYS[1], 'admitted', 'started')
redis.call('HINCRBY', KEYS[1], ARGV[6] == '1' and 'failures' or 'infra_failures', 1)
redis.call('HDEL', KEYS[2], ARGV[1])
join_line(KEYS[3], KEYS[4], KEYS[5], ARGV[3], ARGV[1], known[3])
emit(KEYS[6], ARGV[7], ARGV[1], 'waiting', ARGV[2], ARGV[5])
redis.call('PUBLISH', ARGV[8], 'release')
return 1
