-- Changes one record, and tells of it. Included after changes.lua.
--
-- changes, records, expiries: keys. verb: "put"; "anew", a put that comes last as if it was deleted before; "delete".
-- expires_at: seconds since the epoch, or "" for never.
-- Returns the id of the entry, or '' if nothing was to be deleted.
-- A record is stored as "<id of its first entry> <expires_at> <value>".
local function change_record(changes, records, expiries, kind, replica, verb, key, value, expires_at)
  if verb == 'delete' then
    if redis.call('HDEL', records, key) == 0 then
      return ''
    end
    redis.call('ZREM', expiries, key)
    return tell(changes, 'record', 'kind', kind, 'replica', replica, 'key', key)
  end
  local before = redis.call('HGET', records, key)
  local entry = tell(
    changes, 'record', 'kind', kind, 'replica', replica, 'key', key, 'value', value, 'expires_at', expires_at
  )
  local place = entry
  if before and verb ~= 'anew' then
    place = string.match(before, '^%S+')
  end
  redis.call('HSET', records, key, place .. ' ' .. expires_at .. ' ' .. value)
  if expires_at == '' then
    redis.call('ZREM', expiries, key)
  else
    redis.call('ZADD', expiries, expires_at, key)
  end
  return entry
end
