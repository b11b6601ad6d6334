#!lua
-- Begins a registration of a service, and tells which others began before it and have not ended.
-- KEYS: a sorted set of them by the instant at which they began, in milliseconds. ARGV: this one; the milliseconds after
-- which one counts as ended.
-- Returns the others.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('ZREM', KEYS[1], ARGV[1]) -- if the call is repeated, as its answer was lost
local others = redis.call('ZRANGE', KEYS[1], 0, -1)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return others
