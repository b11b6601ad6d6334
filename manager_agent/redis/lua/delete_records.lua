#!lua flags=allow-oom
-- Deletes records (record_group.lua): of no change is the verb another.
-- include: changes
-- include: record
-- include: record_group
