#!lua
-- Changes records (record_group.lua).
-- include: changes
-- include: record
-- include: record_group
