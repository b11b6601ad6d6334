"""Connect the metrics to the application's parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from http_api.limits.waiters import Waiters
from http_api.observability.metrics.metrics import Metrics
from http_api.observability.metrics.state import State
from http_api.observability.shipping.log_shipper import LogShipper
from http_api.problems.problems import TABLE
from http_api.problems.table import UNEXPECTED
from http_api.replica import ReplicaStatus
from manager_agent.acting_gate import ActingGate
from manager_agent.control.reconcile import Reconciler
from manager_agent.livekit.agent import ManagerAgent
from manager_agent.outbound.callback_service import CallbackService
from manager_agent.records.records import Records
from manager_agent.registry.registry import Registry
from manager_agent.store.store import Store, local


def wire(
    metrics: Metrics,
    store: Store,
    registry: Registry,
    profiles: Iterable[str],
    acting: ActingGate,
    agent: ManagerAgent,
    reconciler: Reconciler,
    callbacks: CallbackService,
    waiters: Waiters,
    shipper: LogShipper,
    records: Records,
    replica: Callable[[], ReplicaStatus] | None,
) -> None:
    """Connect the metrics, once per process. The SERVICES_FILE's services and profiles are registered first, so that
    they get label values before the limit is reached."""
    store.listen(local(metrics.sessions.tell))
    metrics.requests.expect(row.slug for row in (*TABLE.values(), UNEXPECTED))
    for service in registry.list():
        metrics.sessions.expect_type(service.type)
    for profile in ("", *profiles):
        metrics.sessions.expect_profile(profile)
    state = State(
        store=store,
        waiters=waiters,
        acting=acting,
        agent=agent,
        reconciler=reconciler,
        registry=registry,
        callbacks=callbacks,
        log_queue=lambda: shipper.stats,
        records=records,
        replica=replica,
        shown_type=metrics.sessions.expect_type,
        known_types=metrics.sessions.known_types,
    )
    metrics.registry.register(state)
