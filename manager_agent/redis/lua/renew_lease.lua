#!lua flags=allow-oom
-- Renew the lease of a replica, and tell what is known of all.
-- KEYS: leases, what replicas tell about themselves (hash), leader (hash: id, grace, heard)
-- ARGV: id, what it tells, length of a lease in ms, ms of silence after which Redis was away, 1 if it may lead
-- Returns: the instant, leader, ms of grace, then for each replica: id, ms that are left (0: lapsed, -1: it left), what it tells
-- urgent
-- include: liveness

local leases, told, leader = KEYS[1], KEYS[2], KEYS[3]
local id, length, quiet = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local now, day = instant(), 86400000

local heard = tonumber(redis.call('HGET', leader, 'heard') or '0')
local grace = math.min(tonumber(redis.call('HGET', leader, 'grace') or '0'), now + length)
if now < heard or now > heard + quiet then
  grace = now + length
  -- The clock may have been set back: no lease is longer than a new one.
  for _, one in ipairs(redis.call('ZRANGEBYSCORE', leases, grace, '+inf')) do
    redis.call('ZADD', leases, grace, one)
  end
end
redis.call('HSET', leader, 'heard', now, 'grace', grace)
redis.call('ZADD', leases, now + length, id)
redis.call('HSET', told, id, ARGV[2])

-- Forget those that left or lapsed long ago.
for _, range in ipairs({{'(0', now - day}, {'(' .. (day - now), '(0'}}) do
  for _, one in ipairs(redis.call('ZRANGEBYSCORE', leases, range[1], range[2])) do
    redis.call('ZREM', leases, one)
    redis.call('HDEL', told, one)
  end
end

local leads = redis.call('HGET', leader, 'id')
if leads and (is_dead(leases, leader, leads, now) or (leads == id and ARGV[5] == '0')) then
  redis.call('HDEL', leader, 'id')
  leads = false
end
if not leads and ARGV[5] == '1' then
  redis.call('HSET', leader, 'id', id)
  leads = id
end

local answer = {now, leads or '', math.max(grace - now, 0)}
local found = redis.call('ZRANGE', leases, 0, -1, 'WITHSCORES')
for i = 1, #found, 2 do
  local ends = tonumber(found[i + 1])
  table.insert(answer, found[i])
  table.insert(answer, ends < 0 and -1 or math.max(ends - now, 0))
  table.insert(answer, redis.call('HGET', told, found[i]) or '')
end
return answer
