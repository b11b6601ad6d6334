"""Missed webhooks: those that LiveKit should have sent, because we learned of their event by other means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from manager_agent.clock import Clock
from manager_agent.session.change_values import Missable

GRACE = 5.0
"""Seconds until an expected webhook counts as missed. Most take milliseconds; a query to LiveKit can be faster."""
AWAITED_MAX = 10_000
"""The maximum number of expected webhooks. Beyond it the oldest count as missed."""
INSTEAD = {"participant_connection_aborted": Missable.PARTICIPANT_LEFT}
"""Webhooks that LiveKit may send in place of another."""


class AwaitedWebhooks(Collector):
    def __init__(self, registry: CollectorRegistry, clock: Clock) -> None:
        self._clock = clock
        self._due: dict[tuple[str, str], float] = {}
        """The instant at which each webhook is missed, by event and sid, oldest first."""
        self._missed: Counter[Missable] = Counter()
        registry.register(self)

    def expect(self, event: Missable, sid: str) -> None:
        """Expect a webhook for this event of the participant or room `sid`."""
        self._due.setdefault((event, sid), self._clock() + GRACE)
        self._count_overdue()

    def arrived(self, event: str, sid: str) -> None:
        """Record the arrival of a webhook, expected or not."""
        self._count_overdue()
        self._due.pop((INSTEAD.get(event, event), sid), None)

    def collect(self) -> Iterable[Metric]:
        self._count_overdue()
        family = CounterMetricFamily(
            "session_manager_webhooks_missed_total",
            "Changes found in LiveKit that no webhook had reported in time.", labels=["event"],
        )  # fmt: skip
        for event in Missable:
            family.add_metric([event], self._missed[event])
        yield family

    def _count_overdue(self) -> None:
        now = self._clock()
        while self._due:
            (event, sid), due = next(iter(self._due.items()))
            if due > now and len(self._due) <= AWAITED_MAX:
                return
            del self._due[event, sid]
            self._missed[Missable(event)] += 1
