-- The history has this ended job: its record stays no longer than an ended job does. Repeated, it changes nothing.
-- KEYS  1 job
-- ARGV  1 retention (ms)
-- RETURNS ms that it stays, or -1 when it has not ended
local known = redis.call('HMGET', KEYS[1], 'state', 'finished')
if known[1] ~= 'completed' and known[1] ~= 'failed' and known[1] ~= 'stopped' then return -1 end
local left = math.max(1000, tonumber(known[2] or 0) + tonumber(ARGV[1]) - now_ms())
local now = redis.call('PTTL', KEYS[1])
if now < 0 or now > left then redis.call('PEXPIRE', KEYS[1], left) end
return left
