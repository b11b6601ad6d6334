#!lua flags=allow-oom
-- Gives a session to another owner if it is owned as the writer knows. Whatever the former owner writes is refused.
-- Returns what came of it: written, conflict or unknown; and its version.
-- The fence grows with Redis' time: if Redis loses this write, no other owner is ever given the same one.
-- KEYS: the changelog, the session, the leases, the leader, what replicas tell about themselves. ARGV: its id, the owner
-- and the fence that are expected, the new owner, the write, on which condition (stored_session.py).
-- include: changes
-- include: liveness

local function may_be_taken(owner)
  if ARGV[6] == 'owner_is_dead' then
    return is_dead(KEYS[3], KEYS[4], owner, instant())
  end
  if ARGV[6] == 'taker_stays' then
    local ends, told = redis.call('ZSCORE', KEYS[3], ARGV[4]), redis.call('HGET', KEYS[5], ARGV[4])
    return ends and tonumber(ends) > instant() and told and cjson.decode(told).draining ~= true
  end
  return true
end

local version, owner, fence, write = unpack(redis.call('HMGET', KEYS[2], 'v', 'o', 'f', 'w'))
if not version then
  return {'unknown'}
end
if write == ARGV[5] then
  return {'written', version}
end
if owner ~= ARGV[2] or fence ~= ARGV[3] or not may_be_taken(owner) then
  return {'conflict', version}
end
fence = math.max(fence + 1, instant())
redis.call('HSET', KEYS[2], 'v', version + 1, 'o', ARGV[4], 'f', fence, 'w', ARGV[5])
tell(KEYS[1], 'session', 'id', ARGV[1], 'v', version + 1, 'o', ARGV[4], 'f', fence, 'w', ARGV[5])
return {'written', version + 1}
