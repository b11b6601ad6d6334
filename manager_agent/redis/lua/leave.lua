#!lua flags=allow-oom
-- A replica stops: others may take its sessions over at once.
-- KEYS: leases, what replicas tell about themselves, leader. ARGV: id
-- urgent
-- include: liveness

redis.call('ZADD', KEYS[1], -instant(), ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
if redis.call('HGET', KEYS[3], 'id') == ARGV[1] then
  redis.call('HDEL', KEYS[3], 'id')
end
