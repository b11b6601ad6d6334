"""What an attempt derives from its facts."""

from __future__ import annotations

import math
from typing import Any

import pytest

from manager_agent.session.attempt import Attempt, InstanceRef, ServiceReason, ServiceState, Timeline
from manager_agent.session.events import Chosen, Evidence, Refusal

pytestmark = pytest.mark.unit

ASR = Chosen("asr-1", "asr", endpoint="http://user:secret@10.0.0.5:8000/invite?key=secret")
AGENT = Chosen("bot-1", "bot", agent_name="bot")


def attempt(*, instance: Chosen = ASR, number: int = 1, timeline: Timeline | None = None, **facts: Any) -> Attempt:
    """Invited at 10; the other facts as given."""
    return Attempt(instance, number, timeline=timeline or Timeline(invited=10), **facts)


ACCEPTED = Timeline(invited=10, accepted=11)
JOINED = Timeline(invited=10, accepted=11, joined=12)


def test_an_instance_is_known_by_its_id_and_its_address() -> None:
    assert attempt().ref == InstanceRef("asr-1", ASR.endpoint, None)
    assert attempt(instance=AGENT).ref == InstanceRef("bot-1", None, "bot")


def test_log_fields_say_what_is_known_and_no_secret() -> None:
    fields = attempt().ref.log_fields
    assert fields["service_id"] == "asr-1"
    assert fields.keys() == {"service_id", "endpoint"}
    assert "10.0.0.5:8000" in fields["endpoint"]
    assert "secret" not in fields["endpoint"]
    assert attempt(instance=AGENT).ref.log_fields == {"service_id": "bot-1", "agent_name": "bot"}


def test_a_timeline_names_the_instants_that_are_known() -> None:
    assert Timeline(invited=10, joined=0).known == {"invited": 10, "joined": 0}
    every = Timeline(1, 2, 3, 4, 5, 6).known
    assert every == {"invited": 1, "accepted": 2, "joined": 3, "ready": 4, "left": 5, "failed": 6}


@pytest.mark.parametrize(("timeline", "at"), [(Timeline(invited=10), 10), (ACCEPTED, 11), (JOINED, 11)])
def test_answered_at_is_when_it_accepted_or_else_was_invited(timeline: Timeline, at: float) -> None:
    assert attempt(timeline=timeline).answered_at == at
    assert attempt(timeline=timeline).invited_at == 10


REFUSED: dict[str, Any] = {"refusal": Refusal.UNREACHABLE, "refusal_detail": "connection refused"}
BY_HTTP = Evidence.HTTP


@pytest.mark.parametrize(
    ("one", "state"),
    [
        (attempt(number=0, timeline=Timeline()), ServiceState.PENDING),
        (attempt(), ServiceState.INVITED),
        (attempt(timeline=ACCEPTED), ServiceState.ACCEPTED),
        (attempt(timeline=JOINED), ServiceState.JOINED),
        (attempt(timeline=JOINED, ready_by=BY_HTTP), ServiceState.READY),
        (attempt(ready_by=BY_HTTP), ServiceState.READY),
        (attempt(ready_by=BY_HTTP, reported_failure=True), ServiceState.FAILED),
        (attempt(ready_by=BY_HTTP, never_joined=True), ServiceState.FAILED),
        (attempt(ready_by=BY_HTTP, lost_with_room=True), ServiceState.LOST),
        (attempt(ready_by=BY_HTTP, timeline=Timeline(invited=10, left=13)), ServiceState.LOST),
        (attempt(reported_failure=True, lost_with_room=True), ServiceState.FAILED),
        (attempt(never_joined=True, lost_with_room=True), ServiceState.LOST),
        (attempt(never_joined=True, timeline=JOINED), ServiceState.FAILED),
        # Refused: for good, to be asked again, and not known for certain.
        (attempt(**REFUSED), ServiceState.FAILED),
        (attempt(**REFUSED, timeline=ACCEPTED), ServiceState.FAILED),
        (attempt(**REFUSED, timeline=JOINED), ServiceState.JOINED),
        (attempt(**REFUSED, retry_at=20), ServiceState.INVITED),
        (attempt(**REFUSED, in_flight=True), ServiceState.INVITED),
        (attempt(**REFUSED, is_interrupted=True), ServiceState.INVITED),
    ],
)
def test_the_state_follows_from_the_facts(one: Attempt, state: ServiceState) -> None:
    assert one.state is state
    assert one.is_ready is (state is ServiceState.READY)


@pytest.mark.parametrize(
    ("one", "is_refused", "is_declined"),
    [
        (attempt(), False, False),
        (attempt(refusal=Refusal.DECLINED), True, True),
        (attempt(refusal=Refusal.DECLINED, retry_at=20), True, True),
        (attempt(refusal=Refusal.UNREACHABLE), True, False),
        (attempt(refusal=Refusal.DECLINED, in_flight=True), False, False),
        (attempt(refusal=Refusal.DECLINED, is_interrupted=True), False, False),
        # It has come all the same: the answer to its invite was lost.
        (attempt(refusal=Refusal.DECLINED, timeline=JOINED), False, False),
        (attempt(refusal=Refusal.DECLINED, ready_by=BY_HTTP), False, False),
    ],
)
def test_a_refusal_counts_once_it_is_certain(one: Attempt, is_refused: bool, is_declined: bool) -> None:
    assert (one.refused, one.declined) == (is_refused, is_declined)


@pytest.mark.parametrize(
    ("one", "may"),
    [
        (attempt(), False),
        (attempt(is_interrupted=True), True),
        (attempt(is_interrupted=True, timeline=JOINED), False),
        (attempt(is_interrupted=True, ready_by=BY_HTTP), False),
        (attempt(timeline=ACCEPTED), True),
        (attempt(instance=AGENT, timeline=ACCEPTED), False),
        (attempt(timeline=JOINED), False),
        (attempt(refusal=Refusal.UNREACHABLE, retry_at=20), True),
        (attempt(refusal=Refusal.UNREACHABLE, retry_at=math.inf), False),
        (attempt(refusal=Refusal.UNREACHABLE, retry_at=20, reported_failure=True), False),
        (attempt(refusal=Refusal.UNREACHABLE, retry_at=20, in_flight=True), False),
    ],
)
def test_the_same_invite_is_sent_again_only_where_it_may_not_have_arrived(one: Attempt, may: bool) -> None:
    assert one.may_be_asked_again is may


def test_a_join_is_overdue_from_the_acceptance_and_unseen_from_the_signal() -> None:
    assert attempt(timeline=ACCEPTED).overdue_since == 11
    assert attempt(timeline=JOINED).overdue_since is None
    signaled = attempt(timeline=Timeline(invited=10, accepted=11, ready=12), ready_by=BY_HTTP)
    assert (signaled.overdue_since, signaled.unseen_since) == (None, 12)
    assert attempt(timeline=Timeline(invited=10, joined=11, ready=12), ready_by=BY_HTTP).unseen_since is None
    assert attempt(timeline=Timeline(invited=10, ready=12)).unseen_since is None


@pytest.mark.parametrize(
    ("one", "fault", "detail", "shortfall"),
    [
        (attempt(), None, None, ServiceReason.NEVER_JOINED),
        (attempt(timeline=JOINED), None, None, ServiceReason.JOINED_NOT_READY),
        (attempt(ready_by=BY_HTTP), None, None, None),
        (attempt(**REFUSED), ServiceReason.UNREACHABLE, "connection refused", ServiceReason.UNREACHABLE),
        (attempt(**REFUSED, retry_at=20), ServiceReason.UNREACHABLE, "connection refused", ServiceReason.UNREACHABLE),
        (attempt(**REFUSED, timeline=JOINED), None, None, ServiceReason.JOINED_NOT_READY),
        (attempt(refusal=Refusal.DECLINED), ServiceReason.DECLINED, None, ServiceReason.DECLINED),
        (
            attempt(**REFUSED, reported_failure=True, failure_detail="no GPU"),
            ServiceReason.REPORTED_FAILURE,
            "no GPU",
            ServiceReason.REPORTED_FAILURE,
        ),
        (attempt(**REFUSED, lost_with_room=True), ServiceReason.ROOM_LOST, None, ServiceReason.ROOM_LOST),
        (attempt(timeline=Timeline(invited=10, left=13)), ServiceReason.LEFT, None, ServiceReason.LEFT),
        (attempt(**REFUSED, never_joined=True), ServiceReason.NEVER_JOINED, None, ServiceReason.NEVER_JOINED),
    ],
)
def test_a_fault_has_a_reason_and_only_its_own_detail(
    one: Attempt, fault: ServiceReason | None, detail: str | None, shortfall: ServiceReason | None
) -> None:
    assert (one.fault, one.fault_detail, one.shortfall) == (fault, detail, shortfall)
