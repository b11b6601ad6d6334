"""Which manager is in charge of a room, and when the next one is dispatched."""

from __future__ import annotations

import math

import pytest

from manager_agent.session.dispatch import (
    JOIN_TIMEOUT,
    RETURN_TIMEOUT,
    SPENT_IDENTITIES_KEPT,
    STAY,
    ManagerDispatch,
)
from manager_agent.session.participant import Presence

pytestmark = pytest.mark.unit

HERE, LEFT = Presence("PA_1"), Presence(gone=("PA_1",))
DISPATCHED = ManagerDispatch().dispatched(1, "m-1", 100)
IN_CHARGE = DISPATCHED.accepted("m-1", 101)
JOINED = IN_CHARGE.seen(HERE, 102)


def test_a_dispatched_manager_is_awaited_until_it_joins() -> None:
    assert (DISPATCHED.attempt, DISPATCHED.identity, DISPATCHED.awaited_since) == (1, "m-1", 100)
    assert not DISPATCHED.in_charge
    assert (IN_CHARGE.in_charge, IN_CHARGE.is_joining, IN_CHARGE.awaited_since) == (True, True, 100)
    assert (JOINED.in_charge, JOINED.is_joining, JOINED.awaited_since, JOINED.joined_at) == (True, False, None, 102)
    assert JOINED.seen(HERE, 110) is JOINED
    assert JOINED.seen(Presence("PA_2"), 110).joined_at == 102
    connected = JOINED.connected()
    assert (connected.is_connected, connected.connected() is connected) == (True, True)


def test_the_next_dispatch_waits_for_the_answer_the_join_and_the_return() -> None:
    assert DISPATCHED.next_dispatch_at == 102
    assert IN_CHARGE.next_dispatch_at == 101 + JOIN_TIMEOUT
    assert IN_CHARGE.waited("m-1", 109).next_dispatch_at == 109 + JOIN_TIMEOUT
    assert JOINED.next_dispatch_at == math.inf
    gone = JOINED.left(LEFT, 120)
    assert (gone.left_at, gone.next_dispatch_at) == (120, 120 + RETURN_TIMEOUT)
    assert gone.left(Presence(), 130).left_at == 120, "it had left before"


def test_only_the_manager_that_joins_is_waited_for_longer() -> None:
    assert IN_CHARGE.waited("m-2", 109) is IN_CHARGE
    assert DISPATCHED.waited("m-1", 109) is DISPATCHED
    assert JOINED.waited("m-1", 109) is JOINED
    waiting = IN_CHARGE.waited("m-1", 109)
    assert waiting.waited("m-1", 109) is waiting
    assert waiting.waited("m-1", 108) is waiting, "the reports arrived in another order"


def test_the_next_one_is_due_sooner_only_if_none_is_in_charge_or_awaited() -> None:
    for one in (ManagerDispatch(), DISPATCHED, IN_CHARGE, JOINED):
        assert one.due(90) is one
    gone = JOINED.gone(110)
    assert (gone.dispatch_at > 110, gone.due(110).dispatch_at) == (True, 110)
    assert gone.due(gone.dispatch_at + 1).dispatch_at == gone.dispatch_at


def test_a_manager_that_stayed_is_followed_at_once_and_another_after_a_pause() -> None:
    stayed = JOINED.gone(102 + STAY)
    assert (stayed.in_charge, stayed.fruitless, stayed.dispatch_at) == (False, 0, 102 + STAY)
    brief = JOINED.gone(102 + STAY - 0.001)
    assert (brief.fruitless, brief.dispatch_at > 102 + STAY) == (1, True)
    assert IN_CHARGE.gone(102 + STAY).fruitless == 1, "it never joined"
    assert (brief.attempt, brief.identity, brief.spent) == (1, "m-1", ("m-1",))


def test_a_manager_that_is_replaced_in_the_room_was_relieved() -> None:
    assert JOINED.dispatched(2, "m-2", 130).relieved_at == 130
    assert IN_CHARGE.dispatched(2, "m-2", 130).relieved_at is None
    again = JOINED.dispatched(2, "m-2", 130).dispatched(3, "m-3", 140)
    assert (again.relieved_at, again.gone(150).relieved_at) == (130, 130)


def test_a_manager_is_in_charge_of_a_session_that_dispatched_one_and_never_twice() -> None:
    assert not ManagerDispatch().accepted("m-1", 100).in_charge
    assert IN_CHARGE.accepted("m-2", 101) is IN_CHARGE
    gone = JOINED.gone(110)
    assert gone.accepted("m-1", 111) is gone
    assert gone.accepted("m-2", 111).in_charge


def test_a_manager_of_another_process_is_not_awaited_and_its_identity_is_spent_once() -> None:
    assert ManagerDispatch().orphaned(150) == ManagerDispatch()
    orphan = JOINED.orphaned(150)
    assert (orphan.attempt, orphan.identity, orphan.next_dispatch_at, orphan.spent) == (1, "m-1", 150, ("m-1",))
    assert (orphan.in_charge, orphan.presence.here, orphan.awaited_since) == (False, False, None)
    assert orphan.orphaned(160).spent == ("m-1",)


def test_a_room_that_is_made_again_begins_with_the_next_manager() -> None:
    remade = JOINED.remade("m-2", 150)
    assert (remade.attempt, remade.identity, remade.awaited_since, remade.spent) == (2, "m-2", 150, ("m-1",))
    assert (remade.fruitless, remade.in_charge, remade.presence.here) == (1, False, False)


def test_the_latest_spent_identities_are_kept() -> None:
    names = [f"m-{number}" for number in range(SPENT_IDENTITIES_KEPT + 2)]
    gone = remade = orphaned = DISPATCHED
    for number, name in enumerate(names):
        gone = gone.dispatched(number, name, 100).accepted(name, 100).gone(101)
        remade = remade.remade(name, 100)
        orphaned = orphaned.dispatched(number, name, 100).orphaned(100)
    latest = tuple(names[-SPENT_IDENTITIES_KEPT:])
    assert gone.spent == orphaned.spent == latest
    assert remade.remade("next", 100).spent == latest


@pytest.mark.parametrize(("fruitless", "is_taken"), [(1, True), (2, False), (3, True)])
def test_every_second_of_the_fruitless_dispatches_is_left_to_livekit(fruitless: int, is_taken: bool) -> None:
    dispatched = ManagerDispatch()
    for number in range(fruitless):
        dispatched = dispatched.dispatched(number + 1, f"m-{number}", 100)
    assert dispatched.is_taken_at_once is is_taken
    assert not dispatched.accepted("m-x", 100).is_taken_at_once
    assert not dispatched.accepted("m-x", 100).seen(HERE, 100).is_taken_at_once
