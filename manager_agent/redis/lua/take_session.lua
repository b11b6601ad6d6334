#!lua flags=allow-oom
-- Gives a session to another owner if it is owned as the writer knows. Whatever the former owner writes is refused.
-- Returns what came of it: written, conflict or unknown; and its version.
-- KEYS: the changelog, the session, the leases, the leader. ARGV: its id, the owner and the fence that are expected, the
-- new owner, the write, 1 if the former owner must be dead.
-- include: changes
-- include: liveness

local version, owner, fence, write = unpack(redis.call('HMGET', KEYS[2], 'v', 'o', 'f', 'w'))
if not version then
  return {'unknown'}
end
if write == ARGV[5] then
  return {'written', version}
end
if owner ~= ARGV[2] or fence ~= ARGV[3] or (ARGV[6] == '1' and not is_dead(KEYS[3], KEYS[4], owner, instant())) then
  return {'conflict', version}
end
redis.call('HSET', KEYS[2], 'v', version + 1, 'o', ARGV[4], 'f', fence + 1, 'w', ARGV[5])
tell(KEYS[1], 'session', 'id', ARGV[1], 'v', version + 1, 'o', ARGV[4], 'f', fence + 1, 'w', ARGV[5])
return {'written', version + 1}
