"""Gauges and counters read from the application's state at scrape time, so that they can't drift."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from itertools import product

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from http_api.limits.waiters import Waiters
from http_api.observability.shipping.batch import Stats
from http_api.replica import ReplicaStatus
from manager_agent.acting_gate import ActingGate
from manager_agent.control.reconcile import Reconciler
from manager_agent.livekit.agent import ManagerAgent
from manager_agent.livekit.participant_budget import KINDS, OUTCOMES
from manager_agent.outbound.callback_service import CallbackService
from manager_agent.outbound.deliveries import DeliveryState
from manager_agent.records.records import Records
from manager_agent.registry.instances import InstanceState
from manager_agent.registry.registry import Registry
from manager_agent.session.session import SessionState
from manager_agent.store.store import Store

RECORDS_PENDING = "Changes of records that are not in STATE_DIR, or Redis, yet."
RECORDS_LOST = "Changes of records that were given up because STATE_DIR, or Redis, did not take them."
OF_REPLICAS = (
    ("session_manager_redis_away", "1 while Redis does not carry out commands."),
    ("session_manager_redis_refuses_writes", "1 while Redis serves but refuses writes: it is full, for example."),
    ("session_manager_redis_lag_seconds", "How far this replica is behind the changes of the others."),
    ("session_manager_replicas", "Replicas of the deployment that are alive."),
    ("session_manager_leader", "1 if this replica compares the sessions with LiveKit's rooms."),
    ("session_manager_sessions_owned", "Live sessions for which this replica acts."),
)
UNDELETABLE = "Rooms of ended sessions, or of none, that LiveKit did not delete in several tries."


class State(Collector):
    def __init__(
        self,
        *,
        store: Store,
        waiters: Waiters,
        acting: ActingGate,
        agent: ManagerAgent,
        reconciler: Reconciler,
        registry: Registry,
        callbacks: CallbackService,
        log_queue: Callable[[], Stats],
        records: Records,
        replica: Callable[[], ReplicaStatus] | None,
        shown_type: Callable[[str], str],
        known_types: Collection[str],
    ) -> None:
        """`log_queue` returns the shipper's statistics; `replica` what is known of the replicas, None without others;
        `shown_type` maps a service type to its label value. `known_types` are shown even when no such service is
        registered any longer."""
        self._replica = replica
        self._store, self._waiters, self._agent, self._registry = store, waiters, agent, registry
        self._acting, self._reconciler = acting, reconciler
        self._callbacks, self._log_queue, self._shown_type = callbacks, log_queue, shown_type
        self._known_types, self._records = known_types, records

    def collect(self) -> Iterable[Metric]:
        yield self._sessions()
        yield self._services()
        yield self._callbacks_finished()
        yield self._room_messages()
        logs = self._log_queue()
        yield _logs_dropped(logs)
        delivered = "session_manager_log_records_delivered_total"
        yield CounterMetricFamily(delivered, "Log records that the collector accepted.", value=logs.delivered)
        records = self._records.stats
        yield CounterMetricFamily("session_manager_record_changes_lost_total", RECORDS_LOST, value=records.lost)
        for name, description, value in (
            ("session_manager_waiters", "Requests that are waiting.", self._waiters.count),
            ("session_manager_rooms_held", "Rooms that the manager agent watches.", self._agent.rooms_held),
            ("session_manager_rooms_undeletable", UNDELETABLE, self._reconciler.undeletable),
            ("session_manager_acting", "1 if this process acts for its deployment.", self._acting.may_act),
            ("session_manager_manager_registered", "1 if registered with LiveKit.", self._agent.registered),
            ("session_manager_callbacks_pending", "Callbacks not yet finished.", self._callbacks.pending),
            ("session_manager_record_changes_pending", RECORDS_PENDING, records.pending),
            ("session_manager_records_failing", "1 while STATE_DIR, or Redis, takes no records.", records.is_failing),
            *self._of_replicas(),
            ("session_manager_log_queue_records", "Log records waiting to be shipped.", logs.queued_records),
            ("session_manager_log_queue_bytes", "Size of the log records waiting to be shipped.", logs.queued_bytes),
        ):
            yield GaugeMetricFamily(name, description, value=float(value))

    def _of_replicas(self) -> Iterable[tuple[str, str, float]]:
        """Names, descriptions and values. All are zero without other replicas."""
        status = None if self._replica is None else self._replica()
        values = (
            (0.0,) * len(OF_REPLICAS)
            if status is None
            else (
                status.why_away is not None, status.why_no_writes is not None, status.lag, len(status.replicas),
                status.is_leader, status.sessions_owned,
            )
        )  # fmt: skip
        return [(name, says, float(value)) for (name, says), value in zip(OF_REPLICAS, values, strict=True)]

    def _sessions(self) -> Metric:
        family = GaugeMetricFamily("session_manager_sessions", "Stored sessions, by state.", labels=["state"])
        for state in SessionState:
            family.add_metric([state], self._store.counts.by_state[state])
        return family

    def _services(self) -> Metric:
        family = GaugeMetricFamily(
            "session_manager_registered_services", "Registered services.", labels=["type", "state"]
        )
        statuses = self._registry.statuses()
        counts = Counter((self._shown_type(status.service.type), status.state) for status in statuses)
        for service_type in sorted(self._known_types):
            for state in InstanceState:
                family.add_metric([service_type, state], counts[service_type, state])
        return family

    def _room_messages(self) -> Metric:
        family = CounterMetricFamily(
            "session_manager_room_messages_total", "Messages to the manager in rooms.", labels=["kind", "outcome"]
        )
        for kind, outcome in product(KINDS, OUTCOMES):
            family.add_metric([kind, outcome], self._agent.messages[kind, outcome])
        return family

    def _callbacks_finished(self) -> Metric:
        family = CounterMetricFamily(
            "session_manager_callbacks_total", "Callbacks that were delivered or given up.", labels=["outcome"]
        )
        for outcome in (DeliveryState.DELIVERED, DeliveryState.GIVEN_UP):
            family.add_metric([outcome], self._callbacks.finished[outcome])
        return family


def _logs_dropped(logs: Stats) -> Metric:
    family = CounterMetricFamily(
        "session_manager_log_records_dropped_total", "Log records that were lost instead of shipped.",
        labels=["reason"],
    )  # fmt: skip
    for reason, count in logs.dropped.items():
        family.add_metric([reason], count)
    return family
