#!lua flags=allow-oom
-- Removes records that expired before an instant. Nothing is told: every replica knows when they expire.
-- KEYS: records, expiries
-- ARGV: the instant, how many at most
-- Returns how many.

local over = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, key in ipairs(over) do
  redis.call('HDEL', KEYS[1], key)
  redis.call('ZREM', KEYS[2], key)
end
return #over
