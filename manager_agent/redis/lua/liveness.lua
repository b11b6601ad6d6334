-- Whether others may act for the sessions of a replica. `leases`: sorted set, id -> the instant in ms at which its lease
-- ends, or the negative instant at which it left. `leader`: hash with `grace`, before which no lease counts as lapsed.

local function instant()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function is_dead(leases, leader, id, now)
  local ends = tonumber(redis.call('ZSCORE', leases, id) or '')
  if ends and ends < 0 then return true end
  if ends and ends > now then return false end
  return now >= tonumber(redis.call('HGET', leader, 'grace') or '0')
end
