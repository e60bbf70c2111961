-- Take a held job from a node that is lost: back to the line on the infrastructure's budget, or to its end.
-- KEYS  1 job  2 reservations:<node>  3 node  4 waiting:<shape>  5 waiting (all)  6 shapes  7 delayed  8 active  9 events
--       10 secrets  11 log
-- ARGV  1 id  2 attempt  3 worker  4 the node's heartbeat that has not changed  5 'waiting' or a terminal state  6 cause
--       7 evidence  8 outcome JSON  9 shape  10 delay (ms)  11 retention of the log (s)  12 retention of the record (s)
--       13 changes channel  14 wake channel  15 the node's word in the log
-- RETURNS 'done', 'alive' when the node has been heard since, 'adopted' or 'stale' when the job is not held so any more,
--         or 'stop' when a stop was asked for meanwhile
if redis.call('HGET', KEYS[3], 'heartbeat') ~= ARGV[4] then return 'alive' end
local whose = standing(KEYS[1], ARGV[2], ARGV[3])
if whose ~= 'mine' then return whose end
local known = redis.call('HMGET', KEYS[1], 'state', 'stop_grace')
if not held(known[1]) then return 'stale' end
local again = ARGV[5] == 'waiting'
if again and known[2] then return 'stop' end
local newest = redis.call('XREVRANGE', KEYS[11], '+', '-', 'COUNT', 1)[1]
-- One that was not taken up has written nothing. What others wrote may all be missing.
if newest or known[1] ~= 'admitted' then
  local number = newest and tonumber(string.match(newest[1], '^%d+')) + 1 or 1
  redis.call('XADD', KEYS[11], string.format('%d-0', number), 's', 3, 'd', ARGV[15], 't', now_ms(), 'a', ARGV[2],
    'o', 0, 'e', 0)
end
local at = { job = KEYS[1], reservations = KEYS[2], waiting = KEYS[4], waiting_all = KEYS[5], shapes = KEYS[6],
  delayed = KEYS[7], active = KEYS[8], events = KEYS[9], secrets = KEYS[10], log = KEYS[11], log_retention = ARGV[11],
  retention = ARGV[12], changes = ARGV[13], wake = ARGV[14] }
if again then
  remember(KEYS[1], ARGV[6], ARGV[7], '')
  redis.call('HINCRBY', KEYS[1], 'infra_failures', 1)
  back_to_line(at, ARGV[1], ARGV[9], ARGV[2], ARGV[6], tonumber(ARGV[10]))
else
  end_job(at, ARGV[1], ARGV[2], ARGV[5], ARGV[8], ARGV[6])
end
return 'done'
