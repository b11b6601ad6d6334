#!lua flags=allow-oom
-- Removes a session if it is as the writer knows it. Its room name stays taken for a while if that is wanted.
-- Returns what came of it: written, conflict or unknown; and its version.
-- include: changes
-- include: record
-- include: session

local version, write, before = unpack(redis.call('HMGET', SESSION, 'v', 'w', 'c'))
if not version then
  return {'unknown'}
end
if tonumber(version) ~= wanted.version or write ~= wanted.last_write then
  return {'conflict', version}
end
count(before, '[]')
redis.call('DEL', SESSION)
redis.call('ZREM', SESSIONS, wanted.session_id)
if redis.call('GET', NAME) == wanted.session_id then
  if wanted.quarantine > 0 then
    redis.call('PEXPIRE', NAME, wanted.quarantine)
  else
    redis.call('DEL', NAME)
  end
end
tell(CHANGES, 'session_removed', 'id', wanted.session_id, 'v', version + 1, 'w', wanted.write)
change_all_records()
return {'written', version + 1}
