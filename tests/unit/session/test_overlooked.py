"""Participants whom the manager does not see: LiveKit has their room at two nodes."""

from __future__ import annotations

import pytest

from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.attempt import ServiceState
from manager_agent.session.dispatch import ManagerDispatch
from manager_agent.session.events import Event, ParticipantInfo
from manager_agent.session.overlooked import OVERLOOKED_AFTER, services_apart
from manager_agent.session.plan import THAW_GRACE, Action, DispatchManager, ListRoom, Replace, plan
from manager_agent.session.session import Session, SessionState
from manager_agent.session.transitions import apply
from tests.unit import sessions as given
from tests.unit.sessions import ASR, LLM, MANAGER, START

pytestmark = pytest.mark.unit

SERVICE = given.IDENTITIES[ASR] or ""
JOINED_AT = START + 1
DUE = JOINED_AT + OVERLOOKED_AFTER
IN_ROOM = ParticipantInfo(MANAGER, "PA_manager"), ParticipantInfo(SERVICE, "PA_1")
RELIEF = DispatchManager(2)


def joined(*more: Event, is_hidden: bool = False) -> Session:
    """A session whose service joined after the manager, as only a webhook has told."""
    invite = *given.invited(ASR), *given.accepted(ASR)
    session = given.after(given.a_session(given.JOINS), *given.watched(), *invite, ev.WebhookArrived(START))
    info = ParticipantInfo(SERVICE, "PA_1", is_hidden=is_hidden)
    return given.after(session, ev.ParticipantSeen(JOINED_AT, info), *more)


def listed(session: Session, at: float, *here: ParticipantInfo, is_silent: bool = False) -> Session:
    listing = ev.RoomListed(at, at, here or IN_ROOM, is_silent=is_silent)
    return given.after(session, ev.ListingStarted(at), listing)


def actions(session: Session, at: float, thawed_at: float = 0.0) -> tuple[Action, ...]:
    return plan(session, at, thawed_at).actions


def relieved(session: Session, at: float) -> Session:
    """The same with another manager, which is in the room and sees no one else there."""
    identity = "sm-manager-2"
    return given.after(
        session,
        ev.ManagerDispatched(at, 2, identity),
        ev.JobAccepted(at, identity),
        given.shown(identity, "PA_manager_2", at, by=identity),
    )


def test_another_manager_is_dispatched_once_a_listing_confirms_what_the_first_one_misses() -> None:
    session = joined()
    assert RELIEF not in actions(session, DUE + 60)
    early = listed(session, DUE - 0.5)
    assert RELIEF not in actions(early, DUE + 60)
    assert RELIEF in actions(listed(early, DUE), DUE)


def test_the_room_is_listed_in_time() -> None:
    early = listed(joined(), DUE - 0.5)
    assert early.all_ready
    assert ListRoom() not in actions(early, DUE - 0.1)
    assert plan(early, DUE - 0.1).wake_at == DUE
    assert ListRoom() in actions(early, DUE)
    assert ListRoom() not in actions(listed(early, DUE), DUE + 1)


def test_a_room_that_is_missing_is_not_listed_without_a_pause() -> None:
    missed = given.after(joined(), ev.ListingStarted(DUE), ev.RoomMissed(DUE, DUE))
    assert plan(missed, DUE + 0.5).wake_at >= DUE + 1


@pytest.mark.parametrize(
    "told",
    [
        pytest.param([given.shown(SERVICE, "PA_1", JOINED_AT + 3)], id="it is seen"),
        pytest.param([given.left(SERVICE, "PA_1", JOINED_AT + 3)], id="it has left"),
    ],
)
def test_a_manager_stays_that_misses_none(told: list[Event]) -> None:
    assert RELIEF not in actions(listed(joined(*told), DUE), DUE)


def test_a_manager_stays_if_listings_lack_the_participant_too() -> None:
    assert RELIEF not in actions(listed(joined(), DUE, IN_ROOM[0]), DUE)


def test_a_manager_need_not_see_hidden_participants() -> None:
    hidden = joined(is_hidden=True)
    assert RELIEF not in actions(listed(hidden, DUE, IN_ROOM[0], replace(IN_ROOM[1], is_hidden=True)), DUE)


def test_it_need_not_see_again_one_whose_leave_was_reported_in_error() -> None:
    seen = given.shown(SERVICE, "PA_1", JOINED_AT + 1)
    put_out = ev.ParticipantLeft(JOINED_AT + 2, SERVICE, "PA_1", replaced=True)
    refuted = listed(joined(seen, put_out), JOINED_AT + 5)
    assert not refuted.services[ASR].presence.is_replaced
    assert RELIEF not in actions(listed(refuted, DUE), DUE)


def test_a_silent_node_confirms_nothing() -> None:
    assert RELIEF not in actions(listed(joined(), DUE, is_silent=True), DUE)


def test_a_manager_that_sees_the_user_stays_and_the_service_is_replaced() -> None:
    session = joined(given.shown("alice", "PA_user", JOINED_AT + 1))
    user = ParticipantInfo("alice", "PA_user")
    assert session.state is SessionState.ACTIVE
    after = listed(session, DUE, *IN_ROOM, user)
    assert RELIEF not in actions(after, DUE)
    assert after.services[ASR].state is ServiceState.LOST
    assert after.state is SessionState.DEGRADED
    assert Replace(ASR, 1) in actions(after, DUE + 1)


def test_what_happened_while_the_process_stood_still_arrives_first() -> None:
    after = listed(joined(), DUE)
    assert RELIEF not in actions(after, DUE, thawed_at=DUE - THAW_GRACE + 0.1)
    assert RELIEF in actions(after, DUE + 0.1, thawed_at=DUE - THAW_GRACE + 0.1)


def test_the_dispatch_is_recorded_only_when_it_is_due() -> None:
    session = joined()
    assert apply(session, ev.ManagerDispatched(DUE, 2, "sm-manager-2")) is session
    after = apply(listed(session, DUE), ev.ManagerDispatched(DUE, 2, "sm-manager-2"))
    assert (after.manager.attempt, after.manager.in_charge) == (2, False)
    assert after.is_stale(MANAGER)


def test_a_service_that_the_next_manager_does_not_see_is_replaced() -> None:
    session = relieved(listed(joined(), DUE), DUE)
    here = ParticipantInfo("sm-manager-2", "PA_manager_2"), IN_ROOM[1]
    soon = listed(session, DUE + 5, *here)
    assert soon.services[ASR].state is ServiceState.READY
    late = listed(soon, DUE + OVERLOOKED_AFTER, *here)
    assert late.services[ASR].state is ServiceState.LOST
    assert not [one for one in actions(late, DUE + OVERLOOKED_AFTER) if isinstance(one, DispatchManager)]


def test_of_several_services_those_are_replaced_that_are_apart() -> None:
    """The first one has left, the second is at another node."""
    invite = *given.invited(ASR, LLM), *given.accepted(ASR, LLM)
    asked = given.after(given.a_session(given.JOINS, given.JOINS), *given.watched(), *invite, ev.WebhookArrived(START))
    session = given.after(
        asked,
        *(given.seen(SERVICE, "PA_1", JOINED_AT), given.seen("sm-llm-1", "PA_2", JOINED_AT)),
        *(given.shown("alice", "PA_user", JOINED_AT), given.left(SERVICE, "PA_1", DUE - 1)),
    )
    assert list(services_apart(session)) == [(LLM, DUE)]


def joined_at_the_same_moment(*more: Event) -> Session:
    """A session whose service joined just before the manager, which does not see it."""
    invite = *given.invited(ASR), *given.accepted(ASR)
    session = given.after(given.a_session(given.JOINS), *given.created(), ev.JobAccepted(START, MANAGER), *invite)
    service, manager = ParticipantInfo(SERVICE, "PA_1"), ParticipantInfo(MANAGER, "PA_manager")
    seen = ev.ParticipantSeen(JOINED_AT, service), ev.ParticipantSeen(JOINED_AT, manager)
    return given.after(session, *seen, given.shown(MANAGER, "PA_manager", JOINED_AT), *more)


def test_one_manager_alone_loses_no_service() -> None:
    """Its connection may be dead: the SDK notices that after 15 seconds."""
    after = listed(joined_at_the_same_moment(), DUE)
    assert after.services[ASR].state is ServiceState.READY
    assert RELIEF in actions(after, DUE)
    next_one = relieved(after, DUE)
    seen = apply(next_one, given.shown(SERVICE, "PA_1", DUE, by="sm-manager-2"))
    here = ParticipantInfo("sm-manager-2", "PA_manager_2"), IN_ROOM[1]
    late = listed(seen, DUE + OVERLOOKED_AFTER, *here)
    assert late.services[ASR].state is ServiceState.READY
    assert not [one for one in actions(late, DUE + OVERLOOKED_AFTER) if isinstance(one, DispatchManager)]


def test_a_manager_that_does_not_come_does_not_count() -> None:
    """The service is given up because of the next one that does."""
    failed = relieved(listed(joined_at_the_same_moment(), DUE), DUE)
    failed = apply(failed, ev.ManagerFailed(DUE + 1, "sm-manager-2"))
    at, identity = failed.manager.next_dispatch_at, "sm-manager-3"
    third = given.after(
        failed,
        ev.ManagerDispatched(at, 3, identity),
        ev.JobAccepted(at, identity),
        given.shown(identity, "PA_manager_3", at, by=identity),
    )
    here = ParticipantInfo(identity, "PA_manager_3"), IN_ROOM[1]
    assert listed(third, at + OVERLOOKED_AFTER - 1, *here).services[ASR].state is ServiceState.READY
    assert listed(third, at + OVERLOOKED_AFTER, *here).services[ASR].state is ServiceState.LOST


def test_a_user_that_the_next_manager_does_not_see_changes_nothing() -> None:
    """It has to join again: no other manager could come to where it is."""
    session = relieved(listed(joined(given.seen("alice", "PA_user", JOINED_AT + 1)), DUE), DUE)
    session = apply(session, given.shown(SERVICE, "PA_1", DUE, by="sm-manager-2"))
    here = ParticipantInfo("sm-manager-2", "PA_manager_2"), IN_ROOM[1], ParticipantInfo("alice", "PA_user")
    late = listed(session, DUE + 2 * OVERLOOKED_AFTER, *here)
    assert late.state is SessionState.ACTIVE
    due = actions(late, DUE + 2 * OVERLOOKED_AFTER)
    assert not [one for one in due if isinstance(one, DispatchManager | ListRoom | Replace)]


def test_a_manager_that_is_not_connected_overlooks_none() -> None:
    session = joined()
    unconnected = replace(session, manager=replace(session.manager, is_connected=False))
    assert isinstance(unconnected.manager, ManagerDispatch)
    assert RELIEF not in actions(listed(unconnected, DUE), DUE)
