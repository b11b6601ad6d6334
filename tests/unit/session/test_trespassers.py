"""Participants with a token of another session: removed, and never taken for a participant of this session."""

from __future__ import annotations

import pytest

from manager_agent.session import events as ev
from manager_agent.session.participant import REMOVAL_PAUSE
from manager_agent.session.plan import Remove, plan
from manager_agent.session.session import SessionState
from manager_agent.session.trespassers import SESSION_ATTRIBUTE, TRESPASSERS_KEPT
from tests.unit import sessions as given
from tests.unit.sessions import JOINS, START

pytestmark = pytest.mark.unit

OTHER = {SESSION_ATTRIBUTE: "s0"}
READY = given.after(given.a_session(), *given.managed())


@pytest.mark.parametrize("by_listing", [False, True])
def test_user_of_another_session_is_removed_and_not_the_user(by_listing: bool) -> None:
    seen = given.seen("alice", "PA_old", START + 1, attributes=OTHER)
    event = given.listed(START + 1, seen.participant) if by_listing else seen
    session = given.after(READY, event, event)
    assert session.state is SessionState.READY
    assert session.user_joined_at is None
    assert Remove("alice", "PA_old") in plan(session, START + 1).actions


def test_service_of_another_session_is_not_a_service() -> None:
    session = given.after(given.a_session(JOINS), *given.managed(), *given.invited(0))
    session = given.after(session, given.seen("sm-asr-1", "PA_old", START + 1, is_agent=True, attributes=OTHER))
    assert session.state is SessionState.WAITING
    assert Remove("sm-asr-1", "PA_old") in plan(session, START + 1).actions


@pytest.mark.parametrize("attributes", [{}, {SESSION_ATTRIBUTE: "s1"}, {SESSION_ATTRIBUTE: ""}])
def test_participant_of_this_session_or_of_no_session_stays(attributes: dict[str, str]) -> None:
    session = given.after(READY, given.seen("alice", "PA_1", START + 1, attributes=attributes))
    assert session.state is SessionState.ACTIVE
    assert not session.trespassers


def test_removal_is_done_once_and_repeated_only_if_it_failed() -> None:
    session = given.after(READY, given.seen("alice", "PA_old", START + 1, attributes=OTHER))
    removing = given.after(session, ev.RemovalStarted(START + 1, "alice", "PA_old"))
    remove = Remove("alice", "PA_old")
    assert remove not in plan(removing, START + 1).actions
    failed = given.after(removing, ev.RemovalEnded(START + 2, "alice", removed=False, trespasser="PA_old"))
    assert remove not in plan(failed, START + 2).actions
    assert remove in plan(failed, START + 2 + REMOVAL_PAUSE).actions
    done = given.after(removing, ev.RemovalEnded(START + 2, "alice", removed=True, trespasser="PA_old"))
    assert not done.trespassers


def test_each_participant_of_another_session_is_removed_for_itself() -> None:
    came = [given.seen("alice", f"PA_{n}", START + 1, attributes=OTHER) for n in (1, 2)]
    session = given.after(READY, *came, ev.RemovalStarted(START + 1, "alice", "PA_1"))
    assert [one.removing for one in session.trespassers] == [True, False]
    assert given.after(session, ev.RemovalStarted(START + 2, "alice", "PA_1")) is session
    done = given.after(session, given.left("alice", "PA_1", START + 2))
    assert [one.sid for one in done.trespassers] == ["PA_2"]
    failed = given.after(session, ev.RemovalEnded(START + 2, "alice", removed=False, trespasser="PA_1"))
    assert [one.removing for one in failed.trespassers] == [False, False]


def test_only_the_latest_participants_of_other_sessions_are_remembered() -> None:
    session = READY
    for number in range(TRESPASSERS_KEPT * 2):
        session = given.after(session, given.seen("alice", f"PA_{number}", START + 1, attributes=OTHER))
    assert len(session.trespassers) == TRESPASSERS_KEPT
    assert session.trespassers[-1].sid == f"PA_{TRESPASSERS_KEPT * 2 - 1}"


def test_user_who_joins_beside_the_old_token_counts_and_stays() -> None:
    """LiveKit disconnects the older participant of an identity itself."""
    session = given.after(
        READY,
        given.seen("alice", "PA_old", START + 1, attributes=OTHER),
        given.seen("alice", "PA_new", START + 2, attributes={SESSION_ATTRIBUTE: "s1"}),
        given.left("alice", "PA_old", START + 3),
    )
    assert session.state is SessionState.ACTIVE
    assert not session.trespassers
