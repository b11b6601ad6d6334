"""What Redis refuses although it serves: all that needs memory when it is full, or all writes."""

from __future__ import annotations

import math
import time

import structlog

log = structlog.get_logger()

OF_WRITES = {
    "OOM": "out of memory (OOM)",
    "MISCONF": "it can't write to its disk (MISCONF)",
    "NOREPLICAS": "too few of its replicas answer (NOREPLICAS)",
}
"""The codes of answers to any write, and what they mean."""
STEADY_AFTER = 3.0
"""Seconds without a refusal, after which one write that is taken means that all are: at the limit some fit."""
LOGGED_EVERY = 60.0
"""Seconds between two log entries about one code that is not of all writes."""


class Refusals:
    def __init__(self, redis: str) -> None:
        """`redis`: what the log calls it."""
        self.why_no_writes: str | None = None
        """Why it refuses writes, as far as is known; None if it takes them. Has no secrets."""
        self._redis = redis
        self._refused_at = -math.inf
        self._logged_at: dict[str, float] = {}

    def refused(self, code: str) -> None:
        now = time.monotonic()
        if code not in OF_WRITES:
            if now - self._logged_at.get(code, -math.inf) > LOGGED_EVERY:
                self._logged_at[code] = now
                self._log(code)
            return
        self._refused_at = now
        if self.why_no_writes is None:
            self._log(code)
        self.why_no_writes = OF_WRITES[code]

    def taken(self) -> None:
        """It took what it refuses when it refuses writes."""
        if self.why_no_writes is not None and time.monotonic() - self._refused_at >= STEADY_AFTER:
            self.why_no_writes = None
            log.info("redis_takes_writes", redis=self._redis)

    def _log(self, code: str) -> None:
        log.error("redis_refuses", redis=self._redis, code=code)
