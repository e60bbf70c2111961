-- The guard: admit a batch of waiting jobs on one node, each only if it still waits and the sum of live rows allows it.
-- The worker that is to run them is told of each in the same step, by a message on its own queue.
-- KEYS  1 node  2 reservations:<node>  3 waiting (all)  4 shapes  5 events  6 nodes  7 the worker's queue, then per
--       job: its record, waiting:<shape>
-- ARGV  1 node  2 worker  3 most jobs of one owner that may run in the site, or ''  4 prefix of reservations
--       5 prefix of records, then per job: id, attempt, shape, row JSON, changes channel, message or ''
-- RETURNS per job: 'ok' | 'gone' (does not wait any more) | 'full' (no room) | 'owner' (as many of its owner's run as
--         may) | 'closed' (the node takes nothing) | 'elsewhere' (another node is its home)
local node, pairs_of_node = {}, redis.call('HGETALL', KEYS[1])
for i = 1, #pairs_of_node, 2 do node[pairs_of_node[i]] = pairs_of_node[i + 1] end

-- What the node lends of a resource, within what an operator has capped it to. Idle cores are cores too.
local function lends(name)
  local cap = tonumber(node['cap_' .. (name == 'spare' and 'millicores' or name)])
  return math.min(tonumber(node['alloc_' .. name] or 0), cap or math.huge)
end

local free = {
  millicores = lends('millicores'), spare = lends('spare'), memory = lends('memory'), disk = lends('disk'),
  slots = lends('slots'), pids = lends('pids'),
}

-- Well devices: bytes that are free, how many jobs are on each; and how many more may be in use at once. A cordoned one
-- takes nothing more, and is in use while jobs are on it. A row's ill device is counted nowhere: its jobs end.
local devices, unused = {}, lends('gpus')
for _, gpu in ipairs(cjson.decode(node.gpus or '[]')) do
  if gpu.trouble == '' then
    local lends = math.max(0, gpu.memory - gpu.reserved)
    devices[gpu.uuid] = { lends = lends, free = lends, jobs = 0, open = not node['cordon:' .. gpu.uuid] }
  end
end

-- A row without gpu_memory holds all of each of its devices.
local function share_of(row, device)
  local share = tonumber(row.gpu_memory or 0)
  return share > 0 and share or device.lends, share == 0
end

-- A reclaimable job takes what is spare; any other takes cores, and leaves so much less to spare.
local function take(row)
  if not row.reclaimable then free.millicores = free.millicores - row.millicores end
  free.spare = free.spare - row.millicores
  free.memory = free.memory - row.memory
  free.disk = free.disk - row.disk
  free.pids = free.pids - row.pids
  free.slots = free.slots - 1
  for _, uuid in ipairs(row.gpus) do
    local device = devices[uuid]
    if device then
      if device.jobs == 0 then unused = unused - 1 end
      device.free = device.free - share_of(row, device)
      device.jobs = device.jobs + 1
    end
  end
end

local function fits_devices(row)
  local fresh, seen = 0, {}
  for _, uuid in ipairs(row.gpus) do
    local device = devices[uuid]
    if not device or not device.open or seen[uuid] then return false end
    seen[uuid] = true
    local share, whole = share_of(row, device)
    if (whole and device.jobs > 0) or device.free < share then return false end
    if device.jobs == 0 then fresh = fresh + 1 end
  end
  return fresh == 0 or fresh <= unused
end

local function fits(row)
  -- What is not asked for cannot be missing, even when a cap was lowered below what is held.
  local cores = row.reclaimable and free.spare or free.millicores
  return cores >= row.millicores and free.memory >= row.memory and free.disk >= row.disk
    and free.pids >= row.pids and free.slots >= 1 and fits_devices(row)
end

-- A row that cannot be read holds nobody knows what: nothing is admitted until the next beat has put it right.
local readable = true
for _, raw in ipairs(redis.call('HVALS', KEYS[2])) do
  readable = pcall(function() take(cjson.decode(raw)) end) and readable
end

-- How many jobs of each owner hold a reservation on any node of the site.
local running, most = {}, tonumber(ARGV[3])
if most then
  for _, name in ipairs(redis.call('SMEMBERS', KEYS[6])) do
    for _, id in ipairs(redis.call('HKEYS', ARGV[4] .. name)) do
      local owner = redis.call('HGET', ARGV[5] .. id, 'owner') or ''
      running[owner] = (running[owner] or 0) + 1
    end
  end
end

local answers, now = {}, now_ms()
for i = 1, (#KEYS - 7) / 2 do
  local job, waiting = KEYS[6 + 2 * i], KEYS[7 + 2 * i]
  local a = 6 + 6 * (i - 1)
  local id, attempt, shape, row, changes = ARGV[a], tonumber(ARGV[a + 1]), ARGV[a + 2], ARGV[a + 3], ARGV[a + 4]
  local known = redis.call('HMGET', job, 'state', 'attempt', 'owner', 'version', 'shape', 'home')
  local owner = known[3] or ''
  if node.state ~= 'up' then
    answers[i] = 'closed'
  elseif known[1] ~= 'waiting' or tonumber(known[2]) + 1 ~= attempt or (tonumber(known[4]) or 0) > VERSION
    or (known[5] and known[5] ~= shape) then
    answers[i] = 'gone'
    -- What does not belong into this line must not stand at its head for ever.
    if known[1] ~= 'waiting' or (known[5] and known[5] ~= shape) then
      redis.call('ZREM', waiting, id)
      if redis.call('EXISTS', waiting) == 0 then redis.call('SREM', KEYS[4], shape) end
    end
  elseif (known[6] or '') ~= '' and known[6] ~= ARGV[1] then
    answers[i] = 'elsewhere'
  else
    local decoded = cjson.decode(row)
    if not readable or not fits(decoded) then
      answers[i] = 'full'
    elseif most and (running[owner] or 0) >= most then
      answers[i] = 'owner'
    else
      running[owner] = (running[owner] or 0) + 1
      take(decoded)
      leave_line(waiting, KEYS[3], KEYS[4], shape, id)
      redis.call('HSET', job, 'state', 'admitted', 'attempt', attempt, 'node', ARGV[1], 'worker', ARGV[2],
        'admitted', now, 'row', row)
      redis.call('HDEL', job, 'started', 'last_worker')
      redis.call('HSET', KEYS[2], id, row)
      emit(KEYS[5], changes, id, 'admitted', attempt)
      -- A queue that is no list must not break off what is half done: the beat says what is wrong with it.
      if ARGV[a + 5] ~= '' then redis.pcall('LPUSH', KEYS[7], ARGV[a + 5]) end
      answers[i] = 'ok'
    end
  end
end
return answers
