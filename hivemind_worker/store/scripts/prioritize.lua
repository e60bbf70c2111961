-- Give a waiting job another priority, and with it another place in every line it stands in. One that is put back gives
-- back the head's reservation, if it has it: what was promised to it would keep it before those it was put behind.
-- KEYS  1 job  2 waiting:<line>  3 waiting (all)  4 waiting of its owner  5 promise
-- ARGV  1 id  2 spec JSON as read  3 spec JSON with the new priority  4 head start of the new priority (ms)
--       5 changes channel  6 wake channel
-- RETURNS the job's state: 'waiting' when it was done; 'changed' when the record is another by now; nil when there is none
local known = redis.call('HMGET', KEYS[1], 'state', 'spec', 'created', 'rank')
if not known[1] then return nil end
if known[1] ~= 'waiting' then return known[1] end
if known[2] == ARGV[3] then return 'waiting' end
if known[2] ~= ARGV[2] then return 'changed' end
local rank = string.format('%.0f', known[3] - ARGV[4])
redis.call('HSET', KEYS[1], 'spec', ARGV[3], 'rank', rank)
-- One that may not start yet stands in no line of its own: it keeps its new rank for when it comes back.
for i = 2, 4 do redis.call('ZADD', KEYS[i], 'XX', rank, ARGV[1]) end
local promise = redis.pcall('GET', KEYS[5])
if type(promise) == 'string' and tonumber(rank) > (tonumber(known[4]) or 0) then
  local read, head = pcall(cjson.decode, promise)
  if read and type(head) == 'table' and head.task_id == ARGV[1] then redis.call('DEL', KEYS[5]) end
end
redis.call('PUBLISH', ARGV[5], 'state')
redis.call('PUBLISH', ARGV[6], 'arrival')
return 'waiting'
