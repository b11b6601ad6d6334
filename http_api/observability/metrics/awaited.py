"""Webhooks that are to come, as we know already what they will tell: one that does not come in time is a missed one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from manager_agent.clock import Clock
from manager_agent.session.changes import Missable

PATIENCE = 5.0
"""Seconds until one counts as missed. Most take milliseconds: whoever asks LiveKit just then is sooner."""
AWAITED_MAX = 10_000
"""So many at most are waited for. Of more, the oldest count as missed."""
INSTEAD = {"participant_connection_aborted": Missable.PARTICIPANT_LEFT}
"""What LiveKit may send in the place of another."""


class AwaitedWebhooks(Collector):
    def __init__(self, registry: CollectorRegistry, clock: Clock) -> None:
        self._clock = clock
        self._due: dict[tuple[str, str], float] = {}
        """By event and sid, the oldest first: when each is missed."""
        self._missed: Counter[Missable] = Counter()
        registry.register(self)

    def expect(self, event: Missable, sid: str) -> None:
        """It is to tell something of the participant, or of the room, `sid`."""
        self._due.setdefault((event, sid), self._clock() + PATIENCE)
        self._judge()

    def arrived(self, event: str, sid: str) -> None:
        """Any webhook, whether it is awaited or not."""
        self._judge()
        self._due.pop((INSTEAD.get(event, event), sid), None)

    def collect(self) -> Iterable[Metric]:
        self._judge()
        family = CounterMetricFamily(
            "session_manager_webhooks_missed_total",
            "What LiveKit was found to have, or not to have, that no webhook told.", labels=["event"],
        )  # fmt: skip
        for event in Missable:
            family.add_metric([event], self._missed[event])
        yield family

    def _judge(self) -> None:
        now = self._clock()
        while self._due:
            (event, sid), due = next(iter(self._due.items()))
            if due > now and len(self._due) <= AWAITED_MAX:
                return
            del self._due[event, sid]
            self._missed[Missable(event)] += 1
