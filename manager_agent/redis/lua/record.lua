-- Changes one record, and tells of it. Included after changes.lua.
--
-- changes, records, expiries: keys. verb: "put"; "anew", a put that comes last as if it was deleted before; "delete".
-- expires_at: seconds since the epoch, or "" for never.
-- A record is stored as "<id of its first entry> <expires_at> <value>".
local function change_record(changes, records, expiries, kind, replica, verb, key, value, expires_at)
  if verb == 'delete' then
    -- It comes first: a Redis that is out of memory lets a script go on that has begun to change something.
    if redis.call('HDEL', records, key) == 1 then
      redis.call('ZREM', expiries, key)
      tell(changes, 'record', 'kind', kind, 'replica', replica, 'key', key)
    end
    return
  end
  local before = redis.call('HGET', records, key)
  local place = tell(
    changes, 'record', 'kind', kind, 'replica', replica, 'key', key, 'value', value, 'expires_at', expires_at
  )
  if before and verb ~= 'anew' then
    place = string.match(before, '^%S+')
  end
  redis.call('HSET', records, key, place .. ' ' .. expires_at .. ' ' .. value)
  if expires_at == '' then
    redis.call('ZREM', expiries, key)
  else
    redis.call('ZADD', expiries, expires_at, key)
  end
end
