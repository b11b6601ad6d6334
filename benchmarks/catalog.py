"""The benchmarks that `scripts/bench` runs, in this order, and which of them a machine in a hurry runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ListedBenchmark:
    name: str
    """The module in benchmarks/, and the name of its place in docs/performance.md."""
    is_short: bool = False
    """Whether its `--quick` takes seconds and starts no livekit-server: tests run it."""


BENCHMARKS = (
    ListedBenchmark("process_start"),
    ListedBenchmark("room_cost"),
    ListedBenchmark("burst"),
    ListedBenchmark("create"),
    ListedBenchmark("join_latency"),
    ListedBenchmark("replacement"),
    ListedBenchmark("recorded_answer"),
    ListedBenchmark("recovery"),
    ListedBenchmark("change_rate", is_short=True),
    ListedBenchmark("store_growth", is_short=True),
    ListedBenchmark("watching", is_short=True),
    ListedBenchmark("feed", is_short=True),
    ListedBenchmark("waiters"),
    ListedBenchmark("log_shipping"),
    ListedBenchmark("requests"),
    ListedBenchmark("overload"),
    ListedBenchmark("room_flood"),
    ListedBenchmark("longest_step"),
    ListedBenchmark("ended_sessions", is_short=True),
    ListedBenchmark("redis_update"),
    ListedBenchmark("redis_session"),
    ListedBenchmark("redis_growth"),
    ListedBenchmark("following"),
    ListedBenchmark("replicas"),
)
