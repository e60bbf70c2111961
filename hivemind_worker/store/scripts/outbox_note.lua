-- Write down how a group fares, or that its leader still lives.
-- KEYS  1 lead  2 outbox
-- ARGV  1 term  2 term in ms, then pairs of field and value; an empty value takes the field away
-- RETURNS 1, or 0 when the term is over
if not leads(KEYS[1], KEYS[2], ARGV[1], ARGV[2]) then return 0 end
for i = 3, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', KEYS[2], ARGV[i])
  else
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
  end
end
return 1
