-- Ask for a stop. A waiting job ends here; a held one carries the request to its worker, the first grace given stands.
-- KEYS  1 job  2 waiting:<shape>  3 waiting (all)  4 shapes  5 active  6 events  7 secrets  8 log  9 delayed
-- ARGV  1 id  2 shape  3 grace (s)  4 outcome JSON should it still wait  5 retention of the log (s)  6 changes channel
--       7 wake channel  8 prefix of the control channels  9 retention of the record (s)
-- RETURNS {'ended'|'stopped'|'stopping', state}, or nil when there is no such job
local known = redis.call('HMGET', KEYS[1], 'state', 'attempt', 'node')
local state = known[1]
if not state then return nil end
if terminal(state) then return { 'ended', state } end
if state == 'waiting' then
  leave_line(KEYS[2], KEYS[3], KEYS[4], ARGV[2], ARGV[1])
  redis.call('ZREM', KEYS[9], ARGV[1])
  end_job({ job = KEYS[1], active = KEYS[5], events = KEYS[6], secrets = KEYS[7], log = KEYS[8], changes = ARGV[6],
    wake = ARGV[7], log_retention = ARGV[5], retention = ARGV[9] }, ARGV[1], known[2], 'stopped', ARGV[4], 'cancelled')
  return { 'stopped', 'stopped' }
end
redis.call('HSETNX', KEYS[1], 'stop_grace', ARGV[3])
redis.call('PUBLISH', ARGV[8] .. known[3], ARGV[1])
redis.call('PUBLISH', ARGV[6], 'state')
return { 'stopping', state }
