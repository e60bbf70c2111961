-- Ids in a line that the whole does not know of: one whose record has not ended is put back among the active, from where
-- the sweep gives it its places; any other is taken out. A shape whose line is empty goes too.
-- KEYS  1 line  2 the whole it must be a part of  3 shapes  4 active
-- ARGV  1 the shape, or '' for the line of all  2 prefix of the job keys, then ids found in the line
-- RETURNS pairs of id and what was put right
local found = {}

local function tell(id, what)
  found[#found + 1] = id
  found[#found + 1] = what
end

-- When the job was made, if its record has not ended; one that cannot be read has not, the sweep puts it aside.
local function lives_since(id)
  local known = redis.pcall('HMGET', ARGV[2] .. id, 'state', 'created')
  if known.err then return 0 end
  if terminal(known[1]) or redis.call('EXISTS', ARGV[2] .. id) == 0 then return nil end
  return numeric(known[2]) and known[2] or 0
end

for i = 3, #ARGV do
  local id = ARGV[i]
  if not redis.call('ZSCORE', KEYS[2], id) then
    local since = lives_since(id)
    if since and redis.call('ZADD', KEYS[4], 'NX', since, id) == 1 then
      tell(id, 'put back among the active')
    elseif not redis.call('ZSCORE', KEYS[2], id) then
      redis.call('ZREM', KEYS[1], id)
      tell(id, 'taken out of a line: it does not wait')
    end
  end
end
if ARGV[1] ~= '' and redis.call('EXISTS', KEYS[1]) == 0 then redis.call('SREM', KEYS[3], ARGV[1]) end
return found
