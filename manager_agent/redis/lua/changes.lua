-- Tells all replicas of a change, in the step that makes it. What follows the kind: names and values of fields.
-- Of the changes, the latest 20,000 are kept; fewer if they are long: as many as this one would fill 128 MiB with.
local function tell(changes, kind, ...)
  local bytes = 1
  for _, part in ipairs({...}) do
    bytes = bytes + #tostring(part)
  end
  local kept = math.max(1000, math.min(20000, math.floor(134217728 / bytes)))
  return redis.call('XADD', changes, 'MAXLEN', '~', kept, '*', 'k', kind, ...)
end
