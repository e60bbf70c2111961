-- What admission looks at: the front of the whole line, or of each owner's part of it where owners take turns; and the
-- heads of the lines, as many as fit and one more, which says what waits next. Many lines: those of the first jobs of the
-- whole line, and some by lot, so that every line is looked at in time.
-- KEYS  1 waiting (all)  2 shapes  3 runs  4 owners
-- ARGV  1 prefix of the records  2 prefix of the lines  3 most lines, or 0 for the first jobs of the whole line alone
--       4 most jobs from the lines  5 jobs of the front  6 '1' where owners take turns
--       7 how many jobs are to be among them whatever their place, then their ids, then per open node: its name, free
--         millicores, memory, whole devices, disk, processes, slots, spare millicores
-- RETURNS 1 when nothing that could start now is left out, else 0
--         per line: itself, last runs of its kind and shape, last runs of its kind ('' where there is none)
--         per job: id, owner, number of its line from 0, and in one string: rank, attempt, created, timeout, version
--         of the front alone (no lines): how many jobs were looked at, those included that may not start yet
--         owners of whom more wait than were looked at, and how many owners were not looked at
local records, lines_at, most_lines, most_jobs, front, also = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]),
  tonumber(ARGV[5]), tonumber(ARGV[7])
local found, told, whole, taken, nodes = {}, {}, true, {}, {}
local looked, longer, unseen = 0, {}, 0
for at = 8 + also, #ARGV, 8 do
  local free = { name = ARGV[at] }
  for i = 1, 7 do free[i] = tonumber(ARGV[at + i]) end
  nodes[#nodes + 1] = free
end

-- How many jobs of a shape fit at most, on the line's home if it has one. Shares of devices are not additive: the plan
-- places them.
local function room_of(shape, home)
  local want = {}
  for part in string.gmatch(shape, '%d+') do want[#want + 1] = tonumber(part) end
  local cpu, memory, gpus, gpu_memory, disk, pids = unpack(want)
  local cores = string.sub(shape, -2) == ':r' and 7 or 1
  local room = 0
  for _, free in ipairs(pids and nodes or {}) do
    if not home or home == free.name then
      local here = math.min(free[6], free[cores] / cpu, free[2] / memory, free[4] / disk, free[5] / pids)
      if gpus > 0 and gpu_memory == 0 then here = math.min(here, free[3] / gpus) end
      room = room + math.max(0, math.floor(here))
    end
  end
  return room
end

-- Many lines have the same shape: each is looked at once.
local rooms = {}
local function room_for(line)
  local shape, home = string.match(line, '^[^/]*'), string.match(line, '@(.+)$')
  local alike = home and (shape .. '@' .. home) or shape
  local room = rooms[alike]
  if not room then
    room = room_of(shape, home)
    rooms[alike] = room
  end
  return room
end

-- The number of a line in the answer. With it go the last runs of its kind.
local numbers = {}
local function number_of(line)
  if not numbers[line] then
    local shape, kind = string.match(line, '^([^/]*)/(%x+)')
    local runs = kind and redis.call('HMGET', KEYS[3], kind .. ':' .. shape, kind) or {}
    local at = #told
    numbers[line] = at / 3
    told[at + 1], told[at + 2], told[at + 3] = line, runs[1] or '', runs[2] or ''
  end
  return numbers[line]
end

local function add(line, id, rank)
  if taken[id] then return end
  taken[id] = true
  local known = redis.pcall('HMGET', records .. id, 'owner', 'attempt', 'created', 'timeout', 'version')
  if known.err then return end
  local at = #found
  found[at + 1], found[at + 2], found[at + 3] = id, known[1] or '', number_of(line)
  found[at + 4] = rank .. ' ' .. (known[2] or '-') .. ' ' .. (known[3] or '-') .. ' '
    .. (known[4] or '-') .. ' ' .. (known[5] or '-')
end

local function line_of_job(id)
  local line = redis.pcall('HGET', records .. id, 'shape')
  return type(line) == 'string' and line or nil
end

-- A job in its own line's place; nothing where it stands in none, as one that may not start yet.
local function add_alone(id)
  local line = not taken[id] and line_of_job(id)
  local rank = line and redis.call('ZSCORE', lines_at .. line, id)
  if rank then add(line, id, rank) end
end

local function add_first(waiting, most)
  if most < 1 then return end
  local ids = redis.call('ZRANGE', waiting, 0, most - 1)
  for _, id in ipairs(ids) do add_alone(id) end
  looked = looked + #ids
end

-- So many owners have their turn in one round; of more, some by lot. Two jobs each: who starts, and who is next.
local MOST_OWNERS = 64
if ARGV[6] == '1' then
  local owners = redis.call('SRANDMEMBER', KEYS[4], MOST_OWNERS)
  local each = math.max(2, math.floor(front / math.max(1, #owners)))
  for _, owner in ipairs(owners) do
    local part = KEYS[1] .. '/' .. owner
    add_first(part, each)
    if most_lines == 0 and redis.call('ZCARD', part) > each then longer[#longer + 1] = owner end
  end
  unseen = redis.call('SCARD', KEYS[4]) - #owners
else
  add_first(KEYS[1], front)
end

local lines = {}
if most_lines == 0 then
  whole = redis.call('ZCARD', KEYS[1]) <= front
elseif redis.call('SCARD', KEYS[2]) <= most_lines then
  lines = redis.call('SMEMBERS', KEYS[2])
else
  whole = false
  local seen = {}
  local function look(line)
    if line and not seen[line] then
      seen[line] = true
      lines[#lines + 1] = line
    end
  end
  for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, most_lines / 2 - 1)) do look(line_of_job(id)) end
  for _, line in ipairs(redis.call('SRANDMEMBER', KEYS[2], most_lines / 2)) do look(line) end
end

local depths, fitting = {}, 0
for _, line in ipairs(lines) do
  depths[line] = room_for(line)
  if depths[line] > 0 then fitting = fitting + 1 end
end
local share = math.max(1, math.floor(most_jobs / math.max(1, fitting)))
for _, line in ipairs(lines) do
  local depth = math.min(depths[line] + 1, share)
  if depth < depths[line] then whole = false end
  local heads = redis.call('ZRANGE', lines_at .. line, 0, depth - 1, 'WITHSCORES')
  for i = 1, #heads, 2 do add(line, heads[i], heads[i + 1]) end
end
local before = #found
for i = 8, 7 + also do add_alone(ARGV[i]) end
looked = looked + (#found - before) / 4
return { whole and 1 or 0, told, found, looked, longer, unseen }
