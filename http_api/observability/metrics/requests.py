"""Metrics of HTTP requests: number by status and problem, and duration."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram

UNKNOWN = "unknown"
"""The operation of requests to unknown paths and methods."""
ABORTED = "aborted"
"""The status of requests whose response was not completed."""
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Most requests take milliseconds; those that wait for a session take as long as it does."""


class RequestMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "session_manager_http_requests_total", "Requests by operation and response status.",
            ["operation", "status"], registry=registry,
        )  # fmt: skip
        self._duration = Histogram(
            "session_manager_http_request_duration_seconds", "Time from reading a request to completing its response.",
            ["operation"], registry=registry, buckets=SECONDS,
        )  # fmt: skip
        self._problems = Counter(
            "session_manager_http_problems_total", "Requests that got a problem response, by problem type.",
            ["problem"], registry=registry,
        )  # fmt: skip
        self._counters: dict[tuple[str, int | None], Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        """The series of the requests so far: to look one up takes prometheus_client longer than to count in it."""

    def expect(self, problems: Iterable[str]) -> None:
        """Create the series of these problems at zero."""
        for problem in problems:
            self._problems.labels(problem)

    def answered(self, operation: str | None, status: int | None, problem: str | None, seconds: float) -> None:
        """`operation`: its id; None for an unknown path or method. `status`: None if the response was cut off."""
        operation = operation or UNKNOWN
        if (counter := self._counters.get((operation, status))) is None:
            counter = self._requests.labels(operation, ABORTED if status is None else str(status))
            self._counters[operation, status] = counter
        if (histogram := self._histograms.get(operation)) is None:
            histogram = self._histograms[operation] = self._duration.labels(operation)
        counter.inc()
        histogram.observe(seconds)
        if problem is not None:
            self._problems.labels(problem).inc()
