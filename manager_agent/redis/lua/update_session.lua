#!lua flags=allow-oom
-- Changes a session if it is as the writer knows it: version, last write, owner and fence. A version may stand for two
-- writes after Redis has lost one.
-- Returns what came of it: written, conflict, unknown or full; and its version, or the counter.
-- include: changes
-- include: record
-- include: session

local version, owner, fence, write, before = unpack(redis.call('HMGET', SESSION, 'v', 'o', 'f', 'w', 'c'))
if not version then
  return {'unknown'}
end
if write == wanted.write then -- it was carried out before, only the answer was lost
  return {'written', version}
end
local is_known = tonumber(version) == wanted.version and write == wanted.last_write
if not is_known or owner ~= wanted.owner or tonumber(fence) ~= wanted.fence then
  return {'conflict', version}
end
local full = count(before, counters)
if full then
  return {'full', full}
end
store(wanted.version + 1, owner, fence)
change_all_records()
return {'written', wanted.version + 1}
