#!lua
-- Adds a session. Also one that is restored: whatever holds its room name, and without limits.
-- KEYS, after those in session.lua: the guard, if the session is added only while that has the wanted value.
-- Returns what came of it: written, there, unguarded, name_taken or full; and its version and fence, or the milliseconds
-- for which the name is taken if that is known, or the counter.
-- include: changes
-- include: record
-- include: session

local there, write, fence = unpack(redis.call('HMGET', SESSION, 'v', 'w', 'f'))
if there then
  return {write == wanted.write and 'written' or 'there', there, fence}
end
if wanted.guard and redis.call('GET', KEYS[#KEYS]) ~= wanted.guard then
  return {'unguarded'}
end
local holder = redis.call('GET', NAME)
if not wanted.is_restored and holder and holder ~= wanted.holder then
  return {'name_taken', redis.call('PTTL', NAME)}
end
local full = count('[]', counters)
if full then
  return {'full', full}
end
-- Later than any version of a session of this id that was removed.
local now = redis.call('TIME')
local version = now[1] * 1000000 + now[2]
-- Greater than that of any earlier owner, whom Redis may have forgotten (take_session.lua).
fence = wanted.is_restored and math.floor(version / 1000) or 1
redis.call('ZADD', SESSIONS, wanted.created_at, wanted.session_id)
redis.call('SET', NAME, wanted.session_id)
if wanted.is_restored then
  store(version, wanted.owner, fence, 'new', '1', 'restored', '1')
else
  store(version, wanted.owner, fence, 'new', '1')
end
change_all_records()
return {'written', version, fence}
