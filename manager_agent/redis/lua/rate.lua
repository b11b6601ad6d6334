#!lua flags=allow-oom
-- Counts requests by the generic cell rate algorithm, as http_api/limits/gcra.py does.
-- KEYS: one for each sender. ARGV: the interval and the window in microseconds, then the number of requests of each.
-- Returns for each sender its debt before, in microseconds, and how many of its requests are granted.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local answers = {}
for nth, key in ipairs(KEYS) do
  local paid_off_at = math.max(tonumber(redis.call('GET', key) or now), now)
  local debt = paid_off_at - now
  local room = math.floor((window + 1 - debt) / interval) -- 1: instants are rounded
  local granted = math.max(math.min(tonumber(ARGV[nth + 2]), room), 0)
  if granted > 0 then
    local owed = debt + granted * interval
    redis.call('SET', key, string.format('%.0f', now + owed), 'PX', math.ceil(owed / 1000))
  end
  answers[nth] = {math.floor(debt), granted}
end
return answers
