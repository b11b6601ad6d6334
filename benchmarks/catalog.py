"""The benchmarks that `scripts/bench` runs, in this order, how long each takes, and which of them tests run.

Those of the rows that are asked for (benchmarks/asked.py) come first: a run that is interrupted has their results.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ListedBenchmark:
    name: str
    """The module in benchmarks/, and the name of its place in docs/performance.md."""
    minutes: float
    """About so long on 2 cores that do nothing else."""
    is_short: bool = False
    """Whether its `--quick` takes seconds and starts no livekit-server: tests run it."""


BENCHMARKS = (
    ListedBenchmark("process_start", 2),
    ListedBenchmark("room_cost", 5.5),
    ListedBenchmark("arrival", 2),
    ListedBenchmark("burst", 4),
    ListedBenchmark("join_latency", 1.5),
    ListedBenchmark("signals", 1),
    ListedBenchmark("create", 2),
    ListedBenchmark("gate", 1.5),
    ListedBenchmark("requests", 3),
    ListedBenchmark("waiters", 1),
    ListedBenchmark("change_rate", 0.5, is_short=True),
    ListedBenchmark("watching", 0.5, is_short=True),
    ListedBenchmark("recorded_answer", 0.5),
    ListedBenchmark("recovery", 2),
    ListedBenchmark("room_growth", 3),
    ListedBenchmark("store_growth", 1, is_short=True),
    ListedBenchmark("request_growth", 3.5),
    ListedBenchmark("dashboard", 1),
    ListedBenchmark("replacement", 0.5),
    ListedBenchmark("feed", 0.2, is_short=True),
    ListedBenchmark("replicas", 1.5),
    ListedBenchmark("redis_update", 0.5),
    ListedBenchmark("redis_session", 0.3),
    ListedBenchmark("following", 0.3),
    ListedBenchmark("overload", 0.5),
    ListedBenchmark("longest_step", 1.5),
    ListedBenchmark("ended_sessions", 1, is_short=True),
    ListedBenchmark("redis_growth", 2),
    ListedBenchmark("room_flood", 3),
    ListedBenchmark("log_shipping", 3),
)
