-- Give a held job a row that was made anew from its request: neither record nor ledger knew the old one.
-- KEYS  1 job  2 reservations:<node>
-- ARGV  1 id  2 attempt  3 worker  4 row JSON
-- RETURNS 'done', or 'adopted' or 'stale' when the record says something else by now
local whose = standing(KEYS[1], ARGV[2], ARGV[3])
if whose ~= 'mine' then return whose end
if not held(redis.call('HGET', KEYS[1], 'state')) then return 'stale' end
if redis.call('HSETNX', KEYS[1], 'row', ARGV[4]) == 1 then redis.call('HSET', KEYS[2], ARGV[1], ARGV[4]) end
return 'done'
