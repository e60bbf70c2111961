-- A worker takes up the attempt whose reservation it holds. Claiming again by the same worker succeeds again.
--
-- The body is on trial until it has been seen to live on (prove.lua) or has left in order (rest.lua). Who finds a trial
-- of another boot open takes up what a process had in its hands when it died, soon after it took it up. That counts
-- against the job if it was among the last that this boot took up, within a second; unless a body has lived long with it
-- in this very state.
-- KEYS  1 job  2 reservations:<node>  3 events  4 boot  5 secrets  6 log
-- ARGV  1 id  2 attempt  3 worker  4 changes channel  5 boot: one life of the worker's process  6 prefix of the boots
-- RETURNS the job's fields as HGETALL does, 1 if it has secrets, 1 if it has a log; or nil when the attempt is not this
--         worker's to run
local known = redis.call('HMGET', KEYS[1], 'state', 'attempt', 'worker', 'version')
if (tonumber(known[4] or '') or 0) > VERSION then return nil end
if known[2] ~= ARGV[2] or known[3] ~= ARGV[3] then return nil end
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 0 then return nil end
if known[1] == 'admitted' then
  redis.call('HSET', KEYS[1], 'state', 'preparing')
  emit(KEYS[3], ARGV[4], ARGV[1], 'preparing', ARGV[2])
elseif known[1] ~= 'preparing' and known[1] ~= 'running' and known[1] ~= 'collecting' then
  return nil
end
local trial = redis.call('HMGET', KEYS[1], 'trial', 'trial_at', 'trial_worker', 'steady', 'downs_seen')
if trial[1] ~= ARGV[5] then
  local last = trial[1] and tonumber(redis.call('GET', ARGV[6] .. trial[1]) or '') or 0
  local at = tonumber(trial[2] or '') or last
  if trial[1] and trial[4] ~= known[1] and at >= last - 1000 then
    redis.pcall('HINCRBY', KEYS[1], 'downs', 1)  -- what is no number is the reader's to refuse
    local seen = trial[5] and (trial[5] .. '|') or ''
    redis.call('HSET', KEYS[1], 'downs_seen', string.sub(seen .. string.format('%.0f', at) .. ' ' .. (trial[3] or '?'), -1000))
  end
  local now = now_ms()
  redis.call('HSET', KEYS[1], 'trial', ARGV[5], 'trial_at', now, 'trial_worker', ARGV[3])
  redis.call('SET', KEYS[4], now, 'PX', 86400000)
end
return { redis.call('HGETALL', KEYS[1]), redis.call('EXISTS', KEYS[5]), redis.call('EXISTS', KEYS[6]) }
