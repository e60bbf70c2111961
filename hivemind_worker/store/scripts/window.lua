-- What admission looks at: the heads of the lines, deep where a line's jobs fit, the first alone where they do not, as one
-- is enough to say what it waits for. Many lines: those of the first jobs of the whole line, and some by lot, so that
-- every line is looked at in time.
-- KEYS  1 waiting (all)  2 shapes  3 runs
-- ARGV  1 prefix of the records  2 prefix of the lines  3 most lines  4 most jobs  5 a job to be among them, or ''
--       then per node: free millicores, memory, whole devices, disk, processes, slots, spare millicores
-- RETURNS 1 when nothing that could start now is left out, else 0; then per job: id, rank, line, attempt, created,
--         timeout, owner, version, last runs of its kind and shape, last runs of its kind ('' where there is none)
local records, lines_at, most_lines, most_jobs, also = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local found, whole, taken, nodes = { 1 }, true, {}, {}
for at = 6, #ARGV, 7 do
  local free = {}
  for i = 1, 7 do free[i] = tonumber(ARGV[at + i - 1]) end
  nodes[#nodes + 1] = free
end

-- The free slots of the nodes on which a line's jobs fit. Shares of devices are not additive: the plan places them.
local function slots_for(line)
  local shape, want = string.match(line, '^[^/]*'), {}
  for part in string.gmatch(shape, '%d+') do want[#want + 1] = tonumber(part) end
  local cpu, memory, gpus, gpu_memory, disk, pids = unpack(want)
  local cores = string.sub(shape, -2) == ':r' and 7 or 1
  local slots = 0
  for _, free in ipairs(nodes) do
    if pids and free[cores] >= cpu and free[2] >= memory and (gpu_memory > 0 or gpus == 0 or free[3] >= gpus)
      and free[4] >= disk and free[5] >= pids then slots = slots + free[6] end
  end
  return slots
end

local function add(line, id, rank)
  if taken[id] then return end
  taken[id] = true
  local known = redis.pcall('HMGET', records .. id, 'attempt', 'created', 'timeout', 'owner', 'version')
  if known.err then return end
  local shape, kind = string.match(line, '^([^/]*)/(%x+)')
  local runs = kind and redis.call('HMGET', KEYS[3], kind .. ':' .. shape, kind) or {}
  local values = { id, rank, line, known[1], known[2], known[3], known[4], known[5], runs[1], runs[2] }
  for i = 1, 10 do found[#found + 1] = values[i] or '' end
end

local function line_of_job(id)
  local line = redis.pcall('HGET', records .. id, 'shape')
  return type(line) == 'string' and line or nil
end

local lines = {}
if redis.call('SCARD', KEYS[2]) <= most_lines then
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
  depths[line] = slots_for(line)
  if depths[line] > 0 then fitting = fitting + 1 end
end
local share = math.max(1, math.floor(most_jobs / math.max(1, fitting)))
for _, line in ipairs(lines) do
  local depth = math.max(1, math.min(depths[line], share))
  if depth < depths[line] then whole = false end
  local heads = redis.call('ZRANGE', lines_at .. line, 0, depth - 1, 'WITHSCORES')
  for i = 1, #heads, 2 do add(line, heads[i], heads[i + 1]) end
end
if also ~= '' and not taken[also] then
  local line = line_of_job(also)
  local rank = line and redis.call('ZSCORE', lines_at .. line, also)
  if rank then add(line, also, rank) end
end
if not whole then found[1] = 0 end
return found
