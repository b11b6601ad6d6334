"""HTTP's own conventions: bodies, Prefer, conditional requests, CORS, Server-Timing."""
