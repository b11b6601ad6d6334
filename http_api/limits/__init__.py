"""Rate limits, quotas, waiting requests, and idempotency."""
