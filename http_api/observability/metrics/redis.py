"""Metrics of the commands and scripts that are sent to Redis. All are zero without REDIS_URL."""

from __future__ import annotations

from itertools import product

from prometheus_client import CollectorRegistry, Counter, Histogram

from http_api.observability.metrics.labels import Bounded

SECONDS = (0.0002, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
USUAL = ("renew_lease", "read_changes", "add_session", "update_session", "change_records")
"""Scripts whose series exist from the start."""
OUTCOMES = ("ok", "away", "uncertain", "refused")
BLOCKING = frozenset({"XREAD"})
"""Commands that wait for news: their duration says nothing."""


class RedisMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._names = Bounded()
        self._commands = Counter(
            "session_manager_redis_commands_total", "Commands and scripts sent to Redis, by outcome.",
            ["command", "outcome"], registry=registry,
        )  # fmt: skip
        for name, outcome in product(USUAL, OUTCOMES):
            self._commands.labels(self._names.of(name), outcome)
        self._seconds = Histogram(
            "session_manager_redis_command_duration_seconds", "Time until Redis answered a command or script.",
            registry=registry, buckets=SECONDS,
        )  # fmt: skip

    def observe(self, name: str, seconds: float, outcome: str) -> None:
        """A command, or the script of this name, took so long. `outcome`: as RedisConnection tells it."""
        self._commands.labels(self._names.of(name), outcome).inc()
        if name not in BLOCKING:
            self._seconds.observe(seconds)
