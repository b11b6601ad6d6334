-- Tells all replicas of deliveries.
-- KEYS: changes
-- ARGV: the replica, the content
-- include: changes

tell(KEYS[1], 'deliveries', 'replica', ARGV[1], 'content', ARGV[2])
