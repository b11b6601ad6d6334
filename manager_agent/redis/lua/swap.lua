#!lua flags=allow-oom
-- Replaces a value, if it is the expected one.
-- KEYS: its key. ARGV: the expected value; the new one, empty to delete it; milliseconds for which it is kept.
-- Returns the value that is there instead; nothing if it was replaced, or is gone.
local found = redis.call('GET', KEYS[1])
if found and found ~= ARGV[1] then return found end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return false
