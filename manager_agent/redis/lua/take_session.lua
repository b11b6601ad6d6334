#!lua flags=allow-oom
-- Gives a session to another owner if it is owned as the writer knows. Whatever the former owner writes is refused.
-- Returns what came of it: written, conflict or unknown; and its version.
-- KEYS: the changelog, the session. ARGV: its id, the owner and the fence that are expected, the new owner, the write.
-- include: changes

local version, owner, fence, write = unpack(redis.call('HMGET', KEYS[2], 'v', 'o', 'f', 'w'))
if not version then
  return {'unknown'}
end
if write == ARGV[5] then
  return {'written', version}
end
if owner ~= ARGV[2] or fence ~= ARGV[3] then
  return {'conflict', version}
end
redis.call('HSET', KEYS[2], 'v', version + 1, 'o', ARGV[4], 'f', fence + 1, 'w', ARGV[5])
tell(KEYS[1], 'session', 'id', ARGV[1], 'v', version + 1, 'o', ARGV[4], 'f', fence + 1, 'w', ARGV[5])
return {'written', version + 1}
