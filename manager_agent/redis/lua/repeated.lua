#!lua flags=allow-oom
-- Who serves a session of a token request that may be repeated at another replica.
-- KEYS: a hash with its states: abandoned, taken, ending. ARGV: the step, milliseconds until all of it is forgotten.
-- Returns 1 if the step was made, 0 if another replica was first.
local key, step = KEYS[1], ARGV[1]
if step == 'abandon' then
  redis.call('HDEL', key, 'taken')
  redis.call('HSET', key, 'abandoned', 1)
elseif step == 'end' then
  if redis.call('HEXISTS', key, 'taken') == 1 then return 0 end
  redis.call('HSET', key, 'ending', 1)
else
  if redis.call('HEXISTS', key, 'ending') == 1 then return 0 end
  if step == 'take_abandoned' and redis.call('HDEL', key, 'abandoned') == 0 then return 0 end
  redis.call('HDEL', key, 'abandoned')
  redis.call('HSET', key, 'taken', 1)
end
redis.call('PEXPIRE', key, ARGV[2])
return 1
