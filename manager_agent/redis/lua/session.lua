-- What the scripts share that write one session.
-- KEYS: the changelog, the session, all sessions, the counters, its room name; the records and the expiries of each kind
-- of record that changes.
-- ARGV: the write, as JSON (session_scripts.py); the session's form; its counters, as JSON; the changes of records as in
-- record_group.lua.
local CHANGES, SESSION, SESSIONS, COUNTERS, NAME = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local wanted = cjson.decode(ARGV[1])
local form, counters = ARGV[2], ARGV[3]

local function counted(counter)
  return tonumber(redis.call('HGET', COUNTERS, counter) or 0)
end

-- Counts the session where `after` says instead of where `before` does, both JSON lists of counters. Returns a counter
-- that is full; then nothing is counted.
local function count(before, after)
  local deltas = {}
  for _, counter in ipairs(cjson.decode(before)) do
    deltas[counter] = (deltas[counter] or 0) - 1
  end
  for _, counter in ipairs(cjson.decode(after)) do
    deltas[counter] = (deltas[counter] or 0) + 1
  end
  for counter, limit in pairs(wanted.limits) do
    local more, most, less = deltas[counter] or 0, limit[1], limit[2]
    if more > 0 and counted(counter) + more > most - (less == '' and 0 or counted(less)) then
      return counter
    end
  end
  for counter, delta in pairs(deltas) do
    if delta ~= 0 and redis.call('HINCRBY', COUNTERS, counter, delta) <= 0 then
      redis.call('HDEL', COUNTERS, counter)
    end
  end
end

-- Stores the session and tells all replicas. `what`: further fields of the entry.
local function store(version, owner, fence, ...)
  redis.call(
    'HSET', SESSION, 'b', form, 'v', version, 'o', owner, 'f', fence, 'w', wanted.write, 'n', wanted.room_name,
    'c', counters
  )
  tell(
    CHANGES, 'session', 'id', wanted.session_id, 'v', version, 'o', owner, 'f', fence, 'w', wanted.write,
    'n', wanted.room_name, 'b', form, ...
  )
end

-- The changes of records that belong to the write.
local function change_all_records()
  for at = 4, #ARGV, 6 do
    local nth = 4 + 2 * tonumber(ARGV[at])
    change_record(
      CHANGES, KEYS[nth], KEYS[nth + 1], ARGV[at + 1], wanted.replica, ARGV[at + 2], ARGV[at + 3], ARGV[at + 4],
      ARGV[at + 5]
    )
  end
end
