-- Take ids out of a line that the whole does not know of.
-- KEYS  1 line  2 the whole it must be a part of
-- ARGV  ids found in the line
-- RETURNS those taken out
local out = {}
for _, id in ipairs(ARGV) do
  if not redis.call('ZSCORE', KEYS[2], id) then
    redis.call('ZREM', KEYS[1], id)
    out[#out + 1] = id
  end
end
return out
