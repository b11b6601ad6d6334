"""What the session metrics count in each change."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from http_api.observability.metrics.awaited import AwaitedWebhooks
from http_api.observability.metrics.labels import Bounded
from http_api.observability.metrics.sessions import SessionMetrics
from manager_agent.frozen import replace
from manager_agent.session.events import Event
from manager_agent.session.session import Session
from manager_agent.session.transitions import apply
from manager_agent.store.store import Change
from tests.scraped_metrics import ScrapedMetrics
from tests.unit.session.test_changes import CASES, WAITING
from tests.unit.sessions import START, seen

pytestmark = pytest.mark.unit

COUNTED: dict[str, set[str]] = {
    "a service is invited": {"service_attempts_total ASR 1"},
    "an invite is accepted": {"service_time_to_accept_seconds_sum ASR 3", "invites_total accepted ASR 1"},
    "an accepted invite is accepted again": {"invites_total accepted ASR 1"},
    "an invite is declined": {"invites_total declined LLM 1"},
    "an invite can't be delivered": {"invites_total unreachable LLM 1"},
    "a service with ready_on join joins": {
        "service_time_to_join_seconds_sum ASR 3",
        "service_time_to_ready_seconds_sum ASR 3",
        "services_ready_total join ASR 1",
    },
    "a service with ready_on signal joins": {"service_time_to_join_seconds_sum LLM 3"},
    "the last service signals ready by message": {
        "session_time_to_ready_seconds_sum voice 3",
        "service_time_to_ready_seconds_sum LLM 3",
        "services_ready_total message LLM 1",
    },
    "a service signals ready by HTTP before its join": {
        "service_time_to_ready_seconds_sum LLM 3",
        "services_ready_total http LLM 1",
    },
    "a service that is ready by HTTP joins": {"service_time_to_join_seconds_sum LLM 3"},
    "the last service signals ready by attribute": {
        "session_time_to_ready_seconds_sum voice 3",
        "service_time_to_ready_seconds_sum LLM 3",
        "services_ready_total attribute LLM 1",
    },
    "a ready service is lost": set(),
    "a service signals that it failed": set(),
    "the room is created": {"sessions_created_total voice 1"},
    "the room of a session without services is created": {
        "sessions_created_total voice 1",
        "session_time_to_ready_seconds_sum voice 3",
    },
    "a session is closed before its room is created": {
        "sessions_created_total voice 1",
        "sessions_ended_total closed ended 1",
    },
    "the room of a closed session is created": set(),
    "a lost service comes back": {"services_ready_total join ASR 1"},
    "a lost service comes back and signals ready again": {"services_ready_total message LLM 1"},
    "a service that was never ready comes back": {
        "session_time_to_ready_seconds_sum voice 3",
        "service_time_to_ready_seconds_sum LLM 3",
        "services_ready_total message LLM 1",
    },
    "a lost service is replaced": {
        "service_attempts_total ASR 1",
        "service_replacements_total ASR 1",
        "service_failures_total left ASR 1",
    },
    "a service that declined is replaced": {
        "service_attempts_total ASR 1",
        "service_replacements_total ASR 1",
        "service_failures_total declined ASR 1",
    },
    "a service that did not join is replaced": {
        "service_attempts_total ASR 1",
        "service_replacements_total ASR 1",
        "service_failures_total never_joined ASR 1",
    },
    "a service that signalled its failure is replaced": {
        "service_attempts_total ASR 1",
        "service_replacements_total ASR 1",
        "service_failures_total reported_failure ASR 1",
    },
    "the next attempt joins and is ready": {
        "service_time_to_join_seconds_sum ASR 0.5",
        "service_time_to_ready_seconds_sum ASR 0.5",
        "services_ready_total join ASR 1",
    },
    "the manager is dispatched with the room": set(),
    "the manager is dispatched again": {"manager_dispatches_repeated_total 1"},
    "the ready deadline passes": {
        "sessions_ended_total ready_timeout failed 1",
        "service_failures_total never_joined ASR 1",
        "service_failures_total joined_not_ready LLM 1",
    },
    "the replacement deadline passes": {
        "sessions_ended_total service_lost failed 1",
        "service_failures_total left ASR 1",
    },
    "a ready session is closed": {"sessions_ended_total closed ended 1"},
    "a waiting session is closed by a client that is gone": {"sessions_ended_total client_gone ended 1"},
    "a session with a declined service is closed": {
        "sessions_ended_total closed ended 1",
        "service_failures_total declined ASR 1",
    },
    "the room of a session is made again": {"rooms_lost_total 1", "manager_dispatches_repeated_total 1"},
    "the room of a session is made again while a service is being invited": {
        "rooms_lost_total 1",
        "manager_dispatches_repeated_total 1",
    },
    "a service is invited into a room that was made again": {
        "service_replacements_total ASR 1",
        "service_attempts_total ASR 1",
    },
    "a session is ready again in a room that was made again": {"services_ready_total message LLM 1"},
    "a webhook reports that the room is closed": {"sessions_ended_total room_closed ended 1"},
    "a closed room is found before its webhook": {"sessions_ended_total room_closed ended 1"},
    "a closed room is found without webhooks": {"sessions_ended_total room_closed ended 1"},
    "the room can't be created": {"sessions_created_total voice 1", "sessions_ended_total room_unavailable failed 1"},
    "the room name is taken and the session refused": set(),
    "the room name turns out to be taken after the end": set(),
    "listings show that a service has left": set(),
    "a listing shows that a service has joined": set(),
    "a listing shows another participant of an identity": {"services_ready_total join ASR 1"},
    "a listing shows that the manager is gone": set(),
    "listings show a change without webhooks": set(),
    "the user leaves": set(),
    "the manager joins": set(),
    "the room is deleted": set(),
    "the room can't be deleted": set(),
}  # fmt: skip
"""The samples that are not zero after each case of test_changes.py: name without prefix, labels, value."""
NOT_SAMPLES = ("_bucket", "_count", "_created")


def counted(before: Session, event: Event) -> set[str]:
    registry = CollectorRegistry()
    metrics = SessionMetrics(registry, Bounded(), Bounded(), AwaitedWebhooks(registry, lambda: START))
    metrics.tell(Change(before.session_id, before, apply(before, event), event))
    return {
        " ".join([name.removeprefix("session_manager_"), *(label for _, label in sorted(labels)), f"{value:g}"])
        for (name, labels), value in ScrapedMetrics(registry.collect()).series.items()
        if value and not name.endswith(NOT_SAMPLES)
    }


@pytest.mark.parametrize("case", CASES)
def test_each_change_is_counted_in_the_session_metrics(case: str) -> None:
    before, event, _ = CASES[case]
    assert counted(before, event) == COUNTED[case]


@pytest.mark.parametrize("case", CASES)
def test_a_session_without_an_owner_is_not_counted(case: str) -> None:
    before, event, _ = CASES[case]
    assert counted(replace(before, owner=""), event) == set()


def test_no_measured_duration_is_negative() -> None:
    """A join may be dated before the invite."""
    registry = CollectorRegistry()
    metrics = SessionMetrics(registry, Bounded(), Bounded(), AwaitedWebhooks(registry, lambda: START))
    event = seen("sm-asr-1", "PA_asr", START - 5)
    metrics.tell(Change("s1", WAITING, apply(WAITING, event), event))
    found = ScrapedMetrics(registry.collect())
    for step in ("join", "ready"):
        assert found.total(f"session_manager_service_time_to_{step}_seconds_count", type="ASR") == 1
        assert found.total(f"session_manager_service_time_to_{step}_seconds_sum", type="ASR") == 0
