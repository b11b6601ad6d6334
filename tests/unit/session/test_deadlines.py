"""Until when a session waits, and for what."""

from __future__ import annotations

import pytest

from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.deadlines import (
    DISPATCHES_SHARE,
    FRUITLESS_DISPATCHES_MAX,
    appearance_deadlines,
    deadline,
    invite_deadline,
    join_deadline,
)
from manager_agent.session.events import Evidence, Signal
from manager_agent.session.session import EndReason, Limits, Session, SessionState
from tests.unit import sessions as given
from tests.unit.sessions import ASR, LLM, START

pytestmark = pytest.mark.unit

LIMITS = Limits(ready_timeout=60, user_join_timeout=30, user_rejoin_timeout=20, replacement_timeout=15)
REQUESTED = replace(given.a_session(given.SIGNALS), limits=LIMITS)
LLM_READY = given.signal("sm-llm-1", Signal.READY, START + 2)


def ready(*later: ev.Event) -> Session:
    invite = ev.InviteStarted(START, 0, 1, 1, "sm-llm-1", "inv_1")
    came = given.seen("sm-llm-1", "PA_llm", START + 1)
    return given.after(REQUESTED, *given.managed(), invite, ev.InviteAccepted(START, 0, 1, 1), came, LLM_READY, *later)


LLM_LEFT = given.left("sm-llm-1", "PA_llm", START + 10)


def test_a_ready_session_waits_for_its_user_from_when_it_became_ready() -> None:
    assert (ready().state, deadline(ready())) == (SessionState.READY, (START + 32, EndReason.USER_NEVER_JOINED))
    unknown = replace(ready(), ready_at=None, state_since=START + 5)
    assert deadline(unknown) == (START + 35, EndReason.USER_NEVER_JOINED)


def test_a_user_who_left_while_a_service_was_replaced_can_return_once_it_is_there() -> None:
    came, went = given.seen("alice", "PA_alice", START + 3), given.left("alice", "PA_alice", START + 11)
    degraded = ready(came, LLM_LEFT, went)
    assert (degraded.state, deadline(degraded)) == (SessionState.DEGRADED, (START + 25, EndReason.SERVICE_LOST))
    again = given.after(
        degraded, given.seen("sm-llm-1", "PA_2", START + 20), given.signal("sm-llm-1", Signal.READY, START + 21)
    )
    assert (again.state, again.user_left_at) == (SessionState.READY, START + 11)
    assert deadline(again) == (START + 41, EndReason.USER_LEFT)


def test_a_session_that_ends_has_no_deadline() -> None:
    assert deadline(given.after(ready(), ev.SessionClosed(START + 5))) is None


def test_dispatches_are_fruitless_once_a_share_of_the_ready_timeout_is_over() -> None:
    def waiting(fruitless: int, dispatch_at: float, remakes: int = 0) -> Session:
        session = given.after(REQUESTED, *given.created())
        manager = replace(session.manager, fruitless=fruitless, dispatch_at=dispatch_at)
        return replace(session, manager=manager, room=replace(session.room, remakes=remakes))

    share = START + 60 * DISPATCHES_SHARE
    ready_timeout = (START + 60, EndReason.READY_TIMEOUT)
    assert deadline(waiting(FRUITLESS_DISPATCHES_MAX, share)) == (share, EndReason.ROOM_UNAVAILABLE)
    assert deadline(waiting(FRUITLESS_DISPATCHES_MAX, share - 0.001)) == ready_timeout
    assert deadline(waiting(FRUITLESS_DISPATCHES_MAX - 1, share)) == ready_timeout
    assert deadline(waiting(FRUITLESS_DISPATCHES_MAX, share, remakes=1)) == ready_timeout


def test_a_token_given_before_the_session_is_ready_can_be_used_for_the_join_timeout() -> None:
    assert join_deadline(given.after(REQUESTED, *given.created()), START + 5) == START + 35


def test_a_service_is_waited_for_until_the_ready_deadline_and_a_replacement_for_its_own_time() -> None:
    assert invite_deadline(given.after(REQUESTED, *given.created()), START + 5) == START + 60
    assert invite_deadline(ready(), START + 50) == START + 65


def test_a_service_that_is_ready_by_http_alone_has_to_appear_in_the_room() -> None:
    session = given.after(
        replace(given.a_session(given.JOINS, given.SIGNALS), limits=LIMITS),
        *given.managed(),
        *given.invited(ASR, LLM),
        *given.accepted(ASR, LLM),
        given.signal("sm-llm-1", Signal.READY, START + 4, Evidence.HTTP),
    )
    assert list(appearance_deadlines(session)) == [(LLM, START + 4 + LIMITS.service_join_timeout)]
    assert list(appearance_deadlines(given.after(session, given.seen("sm-llm-1", "PA_llm", START + 5)))) == []
