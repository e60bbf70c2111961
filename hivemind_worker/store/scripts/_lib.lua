-- Prepended to every script: the clock, the fence, and the few ways in which a job changes hands.

-- The release that writes records as these scripts do. A record of another version is left alone by what would run it.
local VERSION = 3
-- Past attempts that a record remembers.
local REMEMBERED = 10

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- A number as Redis takes it for a score: Lua's own tonumber takes 'nan' and '0x1' as well.
local function numeric(text) return text and string.match(text, '^%-?%d+%.?%d*$') ~= nil end

-- Whether a row says what admission and its worker need of it.
local function is_row(raw)
  local read, row = pcall(cjson.decode, raw)
  if not read or type(row) ~= 'table' or type(row.gpus) ~= 'table' or type(row.worker) ~= 'string' then return false end
  for _, each in ipairs({ 'attempt', 'millicores', 'memory', 'disk', 'pids' }) do
    if type(row[each]) ~= 'number' then return false end
  end
  return true
end

-- One entry in the events stream (bounded: the outbox keeps what matters) and one word to whoever watches this job.
local function emit(events, changes, id, state, attempt, cause)
  redis.call('XADD', events, 'MAXLEN', '~', 200000, '*',
    'id', id, 'state', state, 'attempt', attempt, 'cause', cause or '', 'at', now_ms())
  redis.call('PUBLISH', changes, 'state')
end

-- The owner's part of the line: Keys.waiting_of. The record stands beside the line: Keys.job, Keys.waiting_all.
local function line_of(waiting_all, id)
  local record = string.gsub(waiting_all, 'waiting$', 'job:') .. id
  return waiting_all .. '/' .. (redis.call('HGET', record, 'owner') or '')
end

-- The owners that have jobs in the line: Keys.owners.
local function owners_of(waiting_all)
  return (string.gsub(waiting_all, 'waiting$', 'owners'))
end

-- The one way into the waiting line and the one way out. The job's record must be there. A job that may not start yet
-- has its place in the whole line and in its owner's; `promote` puts it into its shape's, which admission looks at.
local function keep_place(waiting_all, id, rank)
  redis.call('ZADD', waiting_all, rank, id)
  local line = line_of(waiting_all, id)
  redis.call('ZADD', line, rank, id)
  redis.call('SADD', owners_of(waiting_all), string.sub(line, #waiting_all + 2))
end

local function join_line(waiting, waiting_all, shapes, shape, id, rank)
  keep_place(waiting_all, id, rank)
  redis.call('ZADD', waiting, rank, id)
  redis.call('SADD', shapes, shape)
end

local function terminal(state)
  return state == 'completed' or state == 'failed' or state == 'stopped'
end

local function held(state)
  return state == 'admitted' or state == 'preparing' or state == 'running' or state == 'collecting'
end

-- The fence. Whose is the attempt of this record: 'mine', 'adopted' (this very attempt is in other hands), or 'stale'
-- (superseded, given back, gone)? Only who it belongs to may write.
local function standing(job, attempt, worker)
  local known = redis.call('HMGET', job, 'attempt', 'worker')
  if known[1] ~= attempt then return 'stale' end
  if known[2] == worker then return 'mine' end
  return (known[2] and known[2] ~= '') and 'adopted' or 'stale'
end

local function leave_line(waiting, waiting_all, shapes, shape, id)
  local line = line_of(waiting_all, id)
  redis.call('ZREM', line, id)
  if redis.call('EXISTS', line) == 0 then
    redis.call('SREM', owners_of(waiting_all), string.sub(line, #waiting_all + 2))
  end
  redis.call('ZREM', waiting_all, id)
  redis.call('ZREM', waiting, id)
  if redis.call('EXISTS', waiting) == 0 then redis.call('SREM', shapes, shape) end
end

-- Keep how an attempt ended in the record, the newest few.
local function remember(job, cause, evidence, exit_code)
  local known = redis.call('HMGET', job, 'attempt', 'node', 'worker', 'admitted', 'started')
  local number = tonumber(known[1])
  redis.call('HSET', job, 'past:' .. number, cjson.encode({
    attempt = number, node = known[2] or '', worker = known[3] or '', cause = cause, evidence = evidence,
    exit_code = tonumber(exit_code), admitted = tonumber(known[4] or ''), started = tonumber(known[5] or ''),
    ended = now_ms(),
  }))
  redis.call('HDEL', job, 'past:' .. (number - REMEMBERED))
end

-- From held to ended: outcome, row, place among the active, secrets, retention, event, wake.
-- `at`: job, reservations, active, events, secrets, log, changes, wake, retention and log_retention (s)
local function end_job(at, id, attempt, state, outcome, cause)
  redis.call('HSET', at.job, 'state', state, 'outcome', outcome, 'finished', now_ms())
  redis.call('HDEL', at.job, 'trial', 'not_before')
  if at.reservations then redis.call('HDEL', at.reservations, id) end
  redis.call('ZREM', at.active, id)
  redis.call('DEL', at.secrets)
  redis.call('EXPIRE', at.job, at.retention)
  redis.call('EXPIRE', at.log, at.log_retention)
  emit(at.events, at.changes, id, state, attempt, cause)
  redis.call('PUBLISH', at.wake, 'release')
end

-- From held back to the line, at the old rank; with a delay (ms) out of admission's sight until `promote`.
-- `at`: job, reservations, waiting, waiting_all, shapes, delayed, events, changes, wake
local function back_to_line(at, id, shape, attempt, cause, delay)
  local rank = redis.call('HGET', at.job, 'rank')
  redis.call('HSET', at.job, 'state', 'waiting', 'node', '', 'worker', '', 'shape', shape)
  redis.call('HDEL', at.job, 'admitted', 'started', 'row', 'trial', 'steady')
  redis.call('HDEL', at.reservations, id)
  if delay > 0 then
    keep_place(at.waiting_all, id, rank)
    local due = now_ms() + delay
    redis.call('HSET', at.job, 'not_before', due)
    redis.call('ZADD', at.delayed, due, id)
  else
    join_line(at.waiting, at.waiting_all, at.shapes, shape, id, rank)
  end
  emit(at.events, at.changes, id, 'waiting', attempt, cause)
  redis.call('PUBLISH', at.wake, 'release')
end
