-- Changes several records, and tells of each. Returns the ids of the entries. Included after changes.lua and record.lua.
-- KEYS: changes; the records and the expiries of each kind in turn
-- ARGV: the replica; for each change: the number of its kind among those keys from 1 on, kind, verb, key, value,
-- expires_at

local entries = {}
for at = 2, #ARGV, 6 do
  local nth = 2 * tonumber(ARGV[at])
  entries[#entries + 1] = change_record(
    KEYS[1], KEYS[nth], KEYS[nth + 1], ARGV[at + 1], ARGV[1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5]
  )
end
return entries
