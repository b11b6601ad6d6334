-- Tells all replicas of a change, in the step that makes it. What follows the kind: names and values of fields.
local function tell(changes, kind, ...)
  return redis.call('XADD', changes, 'MAXLEN', '~', 20000, '*', 'k', kind, ...)
end
