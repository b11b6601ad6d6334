#!lua flags=allow-oom
-- Stores a session as a replica knows it, as Redis has lost it or its later versions. Not if what is stored has changed
-- since the replica looked, or was owned later.
-- Returns what came of it: written or conflict; and its version.
-- include: changes
-- include: record
-- include: session

local version, fence, write, before = unpack(redis.call('HMGET', SESSION, 'v', 'f', 'w', 'c'))
if write == wanted.write then
  return {'written', version}
end
if (version or '') ~= wanted.seen_version or (write or '') ~= wanted.seen_write then
  return {'conflict', version or 0}
end
if version and tonumber(fence) > wanted.fence then
  return {'conflict', version}
end
count(before or '[]', counters)
redis.call('ZADD', SESSIONS, wanted.created_at, wanted.session_id)
if wanted.has_name then
  redis.call('SET', NAME, wanted.session_id, 'NX')
end
store(wanted.version, wanted.owner, wanted.fence, 'new', '1', 'restored', '1')
change_all_records()
return {'written', wanted.version}
