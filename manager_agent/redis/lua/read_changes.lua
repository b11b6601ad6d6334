#!lua flags=allow-oom
-- Reads the changes after a position, if nothing is missing between. On a replica it fails, as it may write.
-- KEYS: epoch, changes
-- ARGV: the epoch and the position that are known, how many entries at most, a word for a new epoch
-- Returns the epoch, the id of the last entry, the entries, and whether they are whole: 'whole'; 'trimmed', if the
-- position is too old; or 'lost', if Redis is not in the state any more that had this position.
-- urgent
-- include: changes

local epoch = redis.call('GET', KEYS[1])
if not epoch then
  epoch = ARGV[4]
  redis.call('SET', KEYS[1], epoch)
  tell(KEYS[2], 'epoch')
end
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
if #last == 0 then
  tell(KEYS[2], 'epoch') -- there always is a last entry, which a reader finds again
  last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
end
local last_id = last[1][1]
if epoch ~= ARGV[1] then
  return {epoch, last_id, {}, 'lost'}
end
if last_id == ARGV[2] then
  return {epoch, last_id, {}, 'whole'}
end
if #redis.call('XRANGE', KEYS[2], ARGV[2], ARGV[2]) == 0 then
  local has_older = #redis.call('XRANGE', KEYS[2], '-', '(' .. ARGV[2], 'COUNT', 1) > 0
  return {epoch, last_id, {}, has_older and 'lost' or 'trimmed'}
end
return {epoch, last_id, redis.call('XRANGE', KEYS[2], '(' .. ARGV[2], '+', 'COUNT', ARGV[3]), 'whole'}
