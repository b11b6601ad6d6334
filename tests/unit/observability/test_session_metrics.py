"""What the session metrics count in each change."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from http_api.observability.metrics.awaited import AwaitedWebhooks
from http_api.observability.metrics.labels import Bounded
from http_api.observability.metrics.sessions import SessionMetrics
from manager_agent.session.events import Event
from manager_agent.session.session import Session
from manager_agent.session.transitions import apply
from manager_agent.store.store import Change
from tests.exposed import Exposed
from tests.unit.session.test_changes import CASES, WAITING
from tests.unit.sessions import START, seen

pytestmark = pytest.mark.unit

COUNTED: dict[str, set[str]] = {
    "a service is invited": {"service_attempts_total ASR 1"},
    "an invite is accepted": {"service_time_to_accept_seconds_sum ASR 3", "invites_total accepted ASR 1"},
    "accepted again by who had lost it": {"invites_total accepted ASR 1"},
    "and declined": {"invites_total declined LLM 1"},
    "and can't be delivered": {"invites_total unreachable LLM 1"},
    "a service joins, and is ready by that": {
        "service_time_to_join_seconds_sum ASR 3",
        "service_time_to_ready_seconds_sum ASR 3",
        "services_ready_total join ASR 1",
    },
    "one joins that has to say it": {"service_time_to_join_seconds_sum LLM 3"},
    "it says so, and the session is ready": {
        "session_time_to_ready_seconds_sum voice 3",
        "service_time_to_ready_seconds_sum LLM 3",
        "services_ready_total message LLM 1",
    },
    "it says so by HTTP before it is seen": {
        "service_time_to_ready_seconds_sum LLM 3",
        "services_ready_total http LLM 1",
    },
    "and is seen then": {"service_time_to_join_seconds_sum LLM 3"},
    "by an attribute": {
        "session_time_to_ready_seconds_sum voice 3",
        "service_time_to_ready_seconds_sum LLM 3",
        "services_ready_total attribute LLM 1",
    },
    "one is lost, or fails: that it came to nothing shows later": set(),
    "so it is with one that says it has failed": set(),
    "it has its room": {"sessions_created_total voice 1"},
    "without services it is ready by that": {
        "sessions_created_total voice 1",
        "session_time_to_ready_seconds_sum voice 3",
    },
    "it is closed before it has one": {"sessions_created_total voice 1", "sessions_ended_total closed ended 1"},
    "and then has it": set(),
    "one that was lost comes back, and took no time for it": {"services_ready_total join ASR 1"},
    "so does one that says it again": {"services_ready_total message LLM 1"},
    "one comes back that was never ready": {
        "session_time_to_ready_seconds_sum voice 3",
        "service_time_to_ready_seconds_sum LLM 3",
        "services_ready_total message LLM 1",
    },
    "one that was lost is replaced": {
        "service_attempts_total ASR 1",
        "service_replacements_total ASR 1",
        "service_failures_total left ASR 1",
    },
    "one that declined": {
        "service_attempts_total ASR 1",
        "service_replacements_total ASR 1",
        "service_failures_total declined ASR 1",
    },
    "one that did not come": {
        "service_attempts_total ASR 1",
        "service_replacements_total ASR 1",
        "service_failures_total never_joined ASR 1",
    },
    "one that said it has failed": {
        "service_attempts_total ASR 1",
        "service_replacements_total ASR 1",
        "service_failures_total reported_failure ASR 1",
    },
    "the next attempt begins its own time": {
        "service_time_to_join_seconds_sum ASR 0.5",
        "service_time_to_ready_seconds_sum ASR 0.5",
        "services_ready_total join ASR 1",
    },
    "the manager is dispatched with the room": set(),
    "and again": {"manager_dispatches_repeated_total 1"},
    "time is up": {
        "sessions_ended_total ready_timeout failed 1",
        "service_failures_total never_joined ASR 1",
        "service_failures_total joined_not_ready LLM 1",
    },
    "what was lost is not replaced in time": {
        "sessions_ended_total service_lost failed 1",
        "service_failures_total left ASR 1",
    },
    "it is closed while all is well": {"sessions_ended_total closed ended 1"},
    "while services had more time": {"sessions_ended_total client_gone ended 1"},
    "while one had failed": {"sessions_ended_total closed ended 1", "service_failures_total declined ASR 1"},
    "the room is closed, as a webhook tells, and all have left": {"sessions_ended_total room_closed ended 1"},
    "as a webhook is to tell yet": {"sessions_ended_total room_closed ended 1"},
    "where none arrive": {"sessions_ended_total room_closed ended 1"},
    "the room can't be made": {"sessions_created_total voice 1", "sessions_ended_total room_unavailable failed 1"},
    "its name is another's, and the session refused": set(),
    "its name is another's, as is known when it is over": set(),
    "a listing shows who left": set(),
    "and who came": set(),
    "or somebody in the place of another": {"services_ready_total join ASR 1"},
    "that the manager is gone, who tells it himself": set(),
    "where no webhooks arrive": set(),
    "the user leaves": set(),
    "the manager joins": set(),
    "the room is deleted": set(),
    "it can't be deleted": set(),
}  # fmt: skip
"""The samples that are not zero after each case of test_changes.py: name without prefix, labels, value."""
NOT_SAMPLES = ("_bucket", "_count", "_created")


def counted(before: Session, event: Event) -> set[str]:
    registry = CollectorRegistry()
    metrics = SessionMetrics(registry, Bounded(), Bounded(), AwaitedWebhooks(registry, lambda: START))
    metrics.hear(Change(before.session_id, before, apply(before, event), event))
    return {
        " ".join([name.removeprefix("session_manager_"), *(label for _, label in sorted(labels)), f"{value:g}"])
        for (name, labels), value in Exposed(registry.collect()).series.items()
        if value and not name.endswith(NOT_SAMPLES)
    }


@pytest.mark.parametrize("case", CASES)
def test_what_is_counted(case: str) -> None:
    before, event, _ = CASES[case]
    assert counted(before, event) == COUNTED[case]


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_counted_of_a_session_without_an_owner(case: str) -> None:
    before, event, _ = CASES[case]
    assert counted(replace(before, owner=""), event) == set()


def test_no_time_is_negative() -> None:
    """A join may be dated before the invite."""
    registry = CollectorRegistry()
    metrics = SessionMetrics(registry, Bounded(), Bounded(), AwaitedWebhooks(registry, lambda: START))
    event = seen("sm-asr-1", "PA_asr", START - 5)
    metrics.hear(Change("s1", WAITING, apply(WAITING, event), event))
    found = Exposed(registry.collect())
    for step in ("join", "ready"):
        assert found.total(f"session_manager_service_time_to_{step}_seconds_count", type="ASR") == 1
        assert found.total(f"session_manager_service_time_to_{step}_seconds_sum", type="ASR") == 0
