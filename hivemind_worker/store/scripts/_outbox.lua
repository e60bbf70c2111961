-- Prepended to the scripts of a group's leader, after _lib.lua: the fence, and the numbers that XINFO gives.

-- Whether this term still stands; if so it is prolonged. A leader that was replaced changes nothing any more.
local function leads(lead, outbox, term, milliseconds)
  local held = redis.call('GET', lead)
  if not held or string.match(held, '^(%d+) ') ~= term then return false end
  redis.call('PEXPIRE', lead, milliseconds)
  return true
end

local function field(pairs_of, name)
  for i = 1, #pairs_of, 2 do
    if pairs_of[i] == name then return pairs_of[i + 1] end
  end
end

local function last_id(events)
  if redis.call('EXISTS', events) == 0 then return '0-0' end
  return field(redis.call('XINFO', 'STREAM', events), 'last-generated-id')
end

local function later(a, b)
  local a_ms, a_n = string.match(a, '^(%d+)-(%d+)$')
  local b_ms, b_n = string.match(b, '^(%d+)-(%d+)$')
  a_ms, b_ms = tonumber(a_ms), tonumber(b_ms)
  return a_ms > b_ms or (a_ms == b_ms and tonumber(a_n) > tonumber(b_n))
end

-- Have every record looked through that changed since. What a walk under way has seen may have changed as well, so it
-- begins anew: from where the earliest of the gaps begins. Found last is not begun last: among what was taken, and never
-- settled, there may be entries far older than what is noted.
local function note_resync(outbox, since)
  local noted = redis.call('HGET', outbox, 'resync')
  local before = noted and cjson.decode(noted).since
  if before and later(since, before) then since = before end
  local gap = tonumber(redis.call('HGET', outbox, 'gaps') or 0)
  redis.call('HSET', outbox, 'resync', cjson.encode({ since = since, place = '', gap = gap }))
end

local function note_gap(outbox, since)
  redis.call('HINCRBY', outbox, 'gaps', 1)
  note_resync(outbox, since)
end

-- The group as XINFO gives it, made if need be. `whole`: a new one has everything on record to look through.
local function group_of(events, outbox, group, whole)
  if redis.call('EXISTS', events) == 1 then
    for _, found in ipairs(redis.call('XINFO', 'GROUPS', events)) do
      if field(found, 'name') == group then return found end
    end
  end
  redis.call('XGROUP', 'CREATE', events, group, '0', 'MKSTREAM')
  -- One that was there before has lost its place, most likely with the stream: deleted, or put aside as damaged.
  local settled = redis.call('HGET', outbox, 'settled_to')
  if settled then
    note_gap(outbox, settled)
  elseif whole == '1' then
    note_resync(outbox, '0-0')
  end
  redis.call('HSETNX', outbox, 'settled_to', '0-0')
  return { 'name', group, 'last-delivered-id', '0-0' }
end
