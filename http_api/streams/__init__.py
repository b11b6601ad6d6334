"""Server-sent events: one session, and the feed of everything."""
