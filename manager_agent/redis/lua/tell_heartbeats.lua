#!lua flags=allow-oom
-- Tells all replicas of heartbeats.
-- KEYS: changes
-- ARGV: the replica, the content
-- include: changes

tell(KEYS[1], 'heartbeats', 'replica', ARGV[1], 'content', ARGV[2])
