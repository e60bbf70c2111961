-- Take the lead of one group of the events, if nobody else has it. Every term has a number above all before it.
-- KEYS  1 lead  2 outbox  3 events
-- ARGV  1 who (one word, one per process)  2 term in ms  3 the place of `who`, or '' to wait until the lead is free:
--       a leader of the same place is replaced at once, for it is this one's predecessor
--       4 group  5 1: a group that is made here has everything on record to look through
-- RETURNS the number of the term, or 0 when another leads
local held = redis.call('GET', KEYS[1])
if held then
  local term, who, place = string.match(held, '^(%d+) (%S+) (%S*)$')
  if who == ARGV[1] then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    return tonumber(term)
  end
  if ARGV[3] == '' or place ~= ARGV[3] then return 0 end
end
-- The clock is part of it, so that a Redis that lost its data does not begin anew below what a master has seen.
local term = math.max(tonumber(redis.call('HGET', KEYS[2], 'term') or 0) + 1, now_ms())
redis.call('HSET', KEYS[2], 'term', term)
group_of(KEYS[3], KEYS[2], ARGV[4], ARGV[5])
redis.call('SET', KEYS[1], string.format('%d %s %s', term, ARGV[1], ARGV[3]), 'PX', ARGV[2])
return term
