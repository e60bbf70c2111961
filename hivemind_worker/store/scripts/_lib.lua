-- Prepended to every script: the clock, and the one way to announce a change of state.

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
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

-- The one way into the waiting line and the one way out. The job's record must be there.
local function join_line(waiting, waiting_all, shapes, shape, id, rank)
  redis.call('ZADD', waiting, rank, id)
  redis.call('ZADD', waiting_all, rank, id)
  redis.call('ZADD', line_of(waiting_all, id), rank, id)
  redis.call('SADD', shapes, shape)
end

local function leave_line(waiting, waiting_all, shapes, shape, id)
  redis.call('ZREM', line_of(waiting_all, id), id)
  redis.call('ZREM', waiting_all, id)
  redis.call('ZREM', waiting, id)
  if redis.call('EXISTS', waiting) == 0 then redis.call('SREM', shapes, shape) end
end
