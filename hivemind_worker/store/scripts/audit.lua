-- Put right what belongs to these jobs: place among the active, place in the lines, row in the ledger. The record is the
-- truth; what is right already costs a few reads. Keys of lines and rows follow from the records, so they are made here.
-- KEYS  1 active  2 index  3 waiting (all)  4 shapes  5 delayed  6 nodes
-- ARGV  1 prefix of all keys  2 'active' for ids found among the active, 'any' for ids found elsewhere, then ids
-- RETURNS pairs of id and what was put right, or 'old' (of an earlier release, or without a shape that
--         can be read: to be migrated), 'rowless' (held, and
--         neither record nor ledger know its row), 'damaged: …' (cannot be understood: to be put aside)
local prefix, from_active = ARGV[1], ARGV[2] == 'active'
local found, now = {}, now_ms()

local function tell(id, what)
  found[#found + 1] = id
  found[#found + 1] = what
end

local function shape_line(shape) return KEYS[3] .. ':' .. shape end

-- Out of every line but, where it may stay, one shape's; how many it was in.
local function out_of_lines(id, shape)
  local out = redis.call('ZREM', KEYS[3], id) + redis.call('ZREM', KEYS[5], id)
  if shape then
    leave_line(shape_line(shape), KEYS[3], KEYS[4], shape, id)
  else
    for _, any in ipairs(redis.call('SMEMBERS', KEYS[4])) do
      leave_line(shape_line(any), KEYS[3], KEYS[4], any, id)
    end
  end
  return out
end

local function out_of_ledger(id)
  local out = 0
  for _, node in ipairs(redis.call('SMEMBERS', KEYS[6])) do
    out = out + redis.call('HDEL', prefix .. 'reservations:' .. node, id)
  end
  return out
end

local function gone(id)
  local out = redis.call('ZREM', KEYS[1], id) + redis.call('ZREM', KEYS[2], id) + out_of_lines(id) + out_of_ledger(id)
  if out > 0 then tell(id, 'taken out: it has no record') end
end

local function ended(id, shape)
  if redis.call('ZREM', KEYS[1], id) + out_of_lines(id, shape) + out_of_ledger(id) > 0 then
    tell(id, 'taken out: it has ended')
  end
end

-- Whether a set has this member. Many jobs have the same shape and owner: each is looked for once.
local seen = {}
local function within(set, member)
  local key = set .. ' ' .. member
  seen[key] = seen[key] or redis.call('SISMEMBER', set, member) == 1
  return seen[key]
end

local function waits(id, known)
  local shape, rank, due = known[5], known[6], tonumber(known[10] or '')
  if due and due > now then
    if not redis.call('ZSCORE', KEYS[5], id) or not redis.call('ZSCORE', KEYS[3], id) then
      redis.call('ZADD', KEYS[5], due, id)
      keep_place(KEYS[3], id, rank)
      tell(id, 'put back into the line')
    end
    if redis.call('ZREM', shape_line(shape), id) == 1 then tell(id, 'taken out of a line before its time') end
    return
  end
  local owner = known[11] or ''
  if within(KEYS[4], shape) and within(owners_of(KEYS[3]), owner)
    and redis.call('ZSCORE', KEYS[3], id) and redis.call('ZSCORE', KEYS[3] .. '/' .. owner, id)
    and (redis.call('ZSCORE', shape_line(shape), id) or redis.call('ZSCORE', KEYS[5], id)) then
    return
  end
  join_line(shape_line(shape), KEYS[3], KEYS[4], shape, id, rank)
  tell(id, 'put back into the line')
end

local function holds(id, job, known)
  if out_of_lines(id, known[5]) > 0 then tell(id, 'taken out of the line: it is held') end
  local rows = prefix .. 'reservations:' .. known[4]
  local row, there = known[7], redis.call('HGET', rows, id)
  if row and row ~= there and not is_row(row) then
    redis.call('HDEL', job, 'row')
    row = nil
  end
  if not row then
    if not there then return tell(id, 'rowless') end
    redis.call('HSET', job, 'row', there)
  elseif not there then
    redis.call('HSET', rows, id, row)
    tell(id, 'row restored')
  elseif there ~= row then
    redis.call('HSET', rows, id, row)
    tell(id, 'row corrected')
  end
end

-- Whether what the lines and the ledger need of this record can be read, else why not.
local function complaint(known)
  local state = known[1]
  if not (state == 'waiting' or held(state) or terminal(state)) then return 'state' end
  if not tonumber(known[2] or '') then return 'attempt' end
  if not numeric(known[8]) then return 'created' end
  if not numeric(known[6]) then return 'rank' end
  if held(state) and (not known[4] or known[4] == '') then return 'node' end
end

for i = 3, #ARGV do
  local id = ARGV[i]
  local job = prefix .. 'job:' .. id
  local known = redis.pcall('HMGET', job, 'state', 'attempt', 'worker', 'node', 'shape', 'rank', 'row', 'created',
    'version', 'not_before', 'owner')
  if known.err then
    tell(id, 'damaged: it is no record')
  elseif not known[1] and redis.call('EXISTS', job) == 0 then
    gone(id)
  elseif (tonumber(known[9] or '') or 0) > VERSION then
    -- A newer release looks after its own.
  elseif not tonumber(known[9] or '') then
    tell(id, 'damaged: its version cannot be read')
  elseif complaint(known) then
    tell(id, 'damaged: its ' .. complaint(known) .. ' cannot be read')
  elseif tonumber(known[9]) < VERSION or not string.match(known[5] or '', '^%d+:%d+:%d+:%d+:%d+:%d+') then
    tell(id, 'old')
  else
    local state, shape = known[1], known[5]
    if not from_active and not redis.call('ZSCORE', KEYS[2], id) then
      redis.call('ZADD', KEYS[2], known[8], id)
    end
    if terminal(state) then
      ended(id, shape)
    else
      if not from_active and not redis.call('ZSCORE', KEYS[1], id) then
        redis.call('ZADD', KEYS[1], known[8], id)
        tell(id, 'put back among the active')
      end
      if state == 'waiting' then waits(id, known) else holds(id, job, known) end
    end
  end
end
return found
