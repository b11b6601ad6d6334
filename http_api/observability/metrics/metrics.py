"""All metrics of one process, in their own registry."""

from __future__ import annotations

import time
from collections.abc import Iterable

from aiohttp import web
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.metrics_core import InfoMetricFamily
from prometheus_client.registry import Collector

from http_api import VERSION
from http_api.observability.metrics.awaited import AwaitedWebhooks
from http_api.observability.metrics.labels import Bounded
from http_api.observability.metrics.redis import RedisMetrics
from http_api.observability.metrics.requests import RequestMetrics
from http_api.observability.metrics.sessions import SessionMetrics
from http_api.observability.metrics.webhooks import WebhookMetrics
from http_api.versions import library_versions
from manager_agent.clock import Clock

LAGS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
UPDATES = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1)
"""Seconds. Most take tens of microseconds, plus about as much for logging (`python -m benchmarks.watching`)."""


class Metrics:
    def __init__(self, clock: Clock = time.monotonic) -> None:
        # Otherwise each metric would have an additional `_created` series, which is not used.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        awaited = AwaitedWebhooks(registry, clock)
        self.sessions = SessionMetrics(registry, types=Bounded(), profiles=Bounded(), awaited=awaited)
        self.requests = RequestMetrics(registry)
        self.webhooks = WebhookMetrics(registry, awaited)
        self.redis = RedisMetrics(registry)
        self.loop_lag = Histogram(
            "session_manager_event_loop_lag_seconds", "How late the event loop woke a sleeping task.",
            registry=registry, buckets=LAGS,
        )  # fmt: skip
        self.store_updates = Histogram(
            "session_manager_store_update_duration_seconds",
            "Time to apply an event to a session and notify all listeners.",
            registry=registry, buckets=UPDATES,
        )  # fmt: skip
        registry.register(_Build())
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)


class _Build(Collector):
    """The versions, which are looked for when they are first scraped."""

    def describe(self) -> Iterable[InfoMetricFamily]:
        yield InfoMetricFamily("session_manager_build", "Versions of the running software.")

    def collect(self) -> Iterable[InfoMetricFamily]:
        libraries = {name.replace("-", "_"): number for name, number in library_versions().items()}
        (build,) = self.describe()
        build.add_metric([], {"version": VERSION, **libraries})
        yield build


METRICS = web.AppKey("METRICS", Metrics)
