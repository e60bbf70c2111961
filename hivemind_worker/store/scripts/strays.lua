-- Take ids out of a line that the whole does not know of; a shape whose line is empty goes too.
-- KEYS  1 line  2 the whole it must be a part of  3 shapes
-- ARGV  1 the shape, or '' for the line of all, then ids found in the line
-- RETURNS those taken out
local out = {}
for i = 2, #ARGV do
  if not redis.call('ZSCORE', KEYS[2], ARGV[i]) then
    redis.call('ZREM', KEYS[1], ARGV[i])
    out[#out + 1] = ARGV[i]
  end
end
if ARGV[1] ~= '' and redis.call('EXISTS', KEYS[1]) == 0 then redis.call('SREM', KEYS[3], ARGV[1]) end
return out
