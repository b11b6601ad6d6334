"""Requests as they are answered: how many with which status or problem, and how long it took."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram

UNKNOWN = "unknown"
"""Stands for every path and method that is none of ours."""
ABORTED = "aborted"
"""Stands for the status of an answer that did not come to its end."""
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Most take milliseconds; who waits for a session takes as long as that."""


class RequestMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "session_manager_http_requests_total", "Requests, by the operation and the status of the answer.",
            ["operation", "status"], registry=registry,
        )  # fmt: skip
        self._duration = Histogram(
            "session_manager_http_request_duration_seconds", "From when a request was read until it was answered.",
            ["operation"], registry=registry, buckets=SECONDS,
        )  # fmt: skip
        self._problems = Counter(
            "session_manager_http_problems_total", "Requests that were answered with a problem, by its type.",
            ["problem"], registry=registry,
        )  # fmt: skip

    def expect(self, problems: Iterable[str]) -> None:
        """The series of these problems begin at zero."""
        for problem in problems:
            self._problems.labels(problem)

    def answered(self, operation: str | None, status: int | None, problem: str | None, seconds: float) -> None:
        """`operation`: its id; None for an unknown path or method. `status`: None when the answer was broken off."""
        operation = operation or UNKNOWN
        self._requests.labels(operation, ABORTED if status is None else str(status)).inc()
        self._duration.labels(operation).observe(seconds)
        if problem is not None:
            self._problems.labels(problem).inc()
