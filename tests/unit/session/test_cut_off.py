"""Services that lose their connections together with the manager, as when a LiveKit node is killed."""

from __future__ import annotations

import pytest

from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.attempt import ServiceState
from manager_agent.session.plan import Replace, plan
from manager_agent.session.retries import CUT_OFF_GRACE, CUT_OFF_SHARE, REJOIN_GRACE
from manager_agent.session.session import Session
from manager_agent.session.transitions import apply
from tests.unit import sessions as given
from tests.unit.sessions import ASR, MANAGER, START

pytestmark = pytest.mark.unit

SERVICE = given.IDENTITIES[ASR] or ""
CUT_OFF_AT = START + 5


def served() -> Session:
    """A session that is ready; its manager sees the service."""
    invite = *given.invited(ASR), *given.accepted(ASR)
    return given.after(given.a_session(given.JOINS), *given.watched(), *invite, given.shown(SERVICE, "PA_1", START + 1))


def cut_off(session: Session, *, may_return: bool = True) -> Session:
    left = ev.ParticipantLeft(CUT_OFF_AT, SERVICE, "PA_1", seen_by=MANAGER, may_return=may_return)
    return apply(session, left)


def is_replaced(session: Session, at: float) -> bool:
    return Replace(ASR, 1) in plan(session, at).actions


def test_a_service_that_was_cut_off_has_time_to_come_back() -> None:
    session = cut_off(served())
    assert session.services[ASR].state is ServiceState.LOST
    assert not is_replaced(session, CUT_OFF_AT + CUT_OFF_GRACE - 0.01)
    assert is_replaced(session, CUT_OFF_AT + CUT_OFF_GRACE)


def test_a_service_that_left_alone_is_replaced_soon() -> None:
    session = cut_off(served(), may_return=False)
    assert is_replaced(session, CUT_OFF_AT + REJOIN_GRACE)


def test_another_one_has_the_rest_of_a_short_replacement_timeout() -> None:
    session = served()
    short = replace(session, limits=replace(session.limits, replacement_timeout=4.0))
    assert not is_replaced(cut_off(short), CUT_OFF_AT + 4.0 * CUT_OFF_SHARE - 0.01)
    assert is_replaced(cut_off(short), CUT_OFF_AT + 4.0 * CUT_OFF_SHARE)


def test_one_that_came_back_is_not_replaced_until_it_leaves_for_good() -> None:
    back = apply(cut_off(served()), given.shown(SERVICE, "PA_2", CUT_OFF_AT + 1))
    assert back.services[ASR].state is ServiceState.READY
    assert not is_replaced(back, CUT_OFF_AT + CUT_OFF_GRACE)
    left_at = CUT_OFF_AT + CUT_OFF_GRACE
    gone = apply(back, ev.ParticipantLeft(left_at, SERVICE, "PA_2", seen_by=MANAGER))
    assert is_replaced(gone, left_at + REJOIN_GRACE)


def test_others_who_were_cut_off_have_left() -> None:
    """The user's return has a time of its own."""
    session = given.after(served(), given.shown("alice", "PA_3", START + 2))
    left = ev.ParticipantLeft(CUT_OFF_AT, "alice", "PA_3", seen_by=MANAGER, may_return=True)
    assert apply(session, left) == apply(session, replace(left, may_return=False))
