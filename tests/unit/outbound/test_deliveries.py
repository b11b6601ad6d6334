"""One event on its way to a client's back end: when it is tried again, when it is given up, and what is remembered."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from manager_agent.outbound.deliveries import (
    KEPT,
    OWNERS_MAX,
    PAUSE_MAX,
    RETRY_WINDOW,
    CallbackEvent,
    Delivery,
    DeliveryLog,
    DeliveryState,
    is_event,
)
from manager_agent.session import events as ev
from manager_agent.session.session import Session, SessionState
from manager_agent.store.store import Change
from tests.unit import sessions as given
from tests.unit.sessions import START

pytestmark = pytest.mark.unit

URL = "https://shop.example:8443/sessions?word=a-word"


def a_delivery(id: str = "cb_1", owner: str = "shop", at: float = START) -> Delivery:
    return Delivery(id, CallbackEvent.READY, "s1", 5, owner, URL, at)


def history(delivery: Delivery, status: int) -> list[float]:
    """The instants of all its tries, each of which is answered with this status after a tenth of a second."""
    at, tried = START, []
    while delivery.state is DeliveryState.PENDING:
        at = delivery.next_try_at or at
        tried.append(at)
        delivery = delivery.begun(at).answered(status, at + 0.1)
    return tried


# --- what is told -----------------------------------------------------------------------------------


def test_every_session_state_but_waiting_has_a_callback_event() -> None:
    told: list[Delivery] = []
    before: Session | None = None
    for event in (
        None,
        *given.managed(),
        *given.invited(0),
        given.seen("sm-asr-1", "PA_1", START + 1),
        given.seen("alice", "PA_2", START + 2),
        given.left("sm-asr-1", "PA_1", START + 3),
        given.seen("sm-asr-1", "PA_3", START + 4),
        given.left("alice", "PA_2", START + 5),
        ev.SessionClosed(START + 6),
        ev.CleanUpStarted(START + 6),
    ):
        session = given.a_session(given.JOINS) if event is None or before is None else given.after(before, event)
        if is_event(Change(session.session_id, before, session, event)):
            told.append(Delivery.of(session, URL, START))
        before = session
    assert [delivery.event for delivery in told] == [
        "session_ready",
        "session_active",
        "session_degraded",
        "session_active",
        "session_ready",
        "session_ended",
    ]
    assert [delivery.id for delivery in told] == [f"cb_s1_{delivery.revision}" for delivery in told]
    assert len({delivery.id for delivery in told}) == len(told)


def test_a_failed_session_has_a_callback_event() -> None:
    waiting = given.after(given.a_session(given.JOINS), *given.created())
    failed = given.after(waiting, ev.DeadlinePassed(waiting.ready_deadline))
    assert failed.state is SessionState.FAILED
    assert is_event(Change(waiting.session_id, waiting, failed))
    assert Delivery.of(failed, URL, START).event is CallbackEvent.FAILED


def test_a_session_refused_for_its_room_name_has_no_callback_event() -> None:
    waiting = given.after(given.a_session(), ev.RoomRequested(START))
    refused = given.after(waiting, ev.RoomRefused(START, taken=True))
    assert refused.over
    assert not is_event(Change(waiting.session_id, waiting, refused))


def test_a_session_whose_room_can_not_be_made_again_has_a_callback_event() -> None:
    waiting = given.after(given.a_session(), *given.created(), *given.room_requested_again(START + 1))
    ended = given.after(waiting, ev.RoomRefused(START + 2, taken=True))
    assert is_event(Change(waiting.session_id, waiting, ended))
    assert Delivery.of(ended, URL, START).event is CallbackEvent.ENDED


# --- tries ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_a_callback_answered_with_any_2xx_is_delivered(status: int) -> None:
    delivered = a_delivery().begun(START).answered(status, START + 1)
    assert (delivered.state, delivered.last_status, delivered.finished_at) == ("delivered", status, START + 1)


@pytest.mark.parametrize("status", [100, 199, 300, 302, 308, 400, 401, 404, 409, 429, 500, 503, 599])
def test_a_callback_answered_otherwise_is_tried_again(status: int) -> None:
    failed = a_delivery().begun(START).answered(status, START + 1)
    assert (failed.state, failed.last_status) == ("pending", status)
    assert failed.next_try_at is not None
    assert failed.next_try_at > START + 1


def test_an_unanswered_callback_is_tried_again_and_has_no_last_status() -> None:
    failed = a_delivery().begun(START).answered(500, START).begun(START + 1).unanswered("TimeoutError", START + 6)
    assert (failed.state, failed.tries) == ("pending", 2)
    assert (failed.last_status, failed.last_error) == (None, "TimeoutError")


def test_a_callback_answered_with_410_is_given_up_at_once() -> None:
    gone = a_delivery().begun(START).answered(410, START + 1)
    assert (gone.state, gone.is_unwanted, gone.tries) == ("given_up", True, 1)


@pytest.mark.parametrize("number", range(50))
def test_delivery_tries_have_growing_pauses_and_end_after_ten_minutes(number: int) -> None:
    """Whatever the spread: the first pause is about a second, none exceeds a minute and its spread, and none ends
    after the ten minutes."""
    tried = history(a_delivery(f"cb_{number}"), 500)
    pauses = [later - earlier - 0.1 for earlier, later in pairwise(tried)]
    assert 0.5 <= pauses[0] <= 1.5
    assert max(pauses) <= 1.5 * PAUSE_MAX
    assert all(0.5 <= pause / min(2.0**n, PAUSE_MAX) <= 1.5 for n, pause in enumerate(pauses))
    assert START + RETRY_WINDOW - 1.5 * PAUSE_MAX - 0.1 < tried[-1] <= START + RETRY_WINDOW


def test_two_deliveries_are_not_repeated_in_step() -> None:
    assert not set(history(a_delivery("cb_1"), 500)[1:]) & set(history(a_delivery("cb_2"), 500)[1:])


def test_the_ten_minutes_of_a_delivery_begin_with_its_first_try() -> None:
    """Not while it waits for its turn."""
    late = START + 10 * RETRY_WINDOW
    assert a_delivery().begun(late).answered(500, late).state is DeliveryState.PENDING


def test_a_delivery_shows_only_the_host_of_its_url() -> None:
    assert a_delivery().host == "shop.example:8443"
    assert "a-word" not in repr(a_delivery())


# --- what is remembered -----------------------------------------------------------------------------


def every_owner(_: str) -> bool:
    return True


def test_the_last_hundred_deliveries_of_each_owner_are_kept_newest_first() -> None:
    delivery_log = DeliveryLog()
    for number in range(KEPT + 20):
        delivery_log.add(a_delivery(f"cb_{number}", at=START + number))
    delivery_log.add(a_delivery("cb_desk", "desk", START + 5))
    assert [d.id for d in delivery_log.latest("shop".__eq__)] == [f"cb_{n}" for n in reversed(range(20, KEPT + 20))]
    assert [d.id for d in delivery_log.latest("desk".__eq__)] == ["cb_desk"]
    assert delivery_log.latest("nobody".__eq__) == []


def test_a_reader_of_all_owners_gets_the_last_hundred_deliveries() -> None:
    delivery_log = DeliveryLog()
    for number in range(KEPT):
        delivery_log.add(a_delivery(f"cb_{number}", f"owner-{number % 7}", START + number))
    delivery_log.add(a_delivery("cb_last", "desk", START + KEPT))
    latest = [d.id for d in delivery_log.latest(every_owner)]
    assert latest == ["cb_last", *(f"cb_{n}" for n in reversed(range(1, KEPT)))]


def test_of_deliveries_at_one_instant_the_later_one_comes_first() -> None:
    delivery_log = DeliveryLog()
    for number in range(5):
        delivery_log.add(a_delivery(f"cb_{number}"))
    assert [d.id for d in delivery_log.latest(every_owner)] == ["cb_4", "cb_3", "cb_2", "cb_1", "cb_0"]


def test_an_updated_delivery_keeps_its_position() -> None:
    delivery_log = DeliveryLog()
    delivery_log.add(a_delivery("cb_1"))
    delivery_log.add(a_delivery("cb_2", at=START + 1))
    delivery_log.update(a_delivery("cb_1").begun(START).answered(200, START))
    assert [(d.id, d.state) for d in delivery_log.latest(every_owner)] == [("cb_2", "pending"), ("cb_1", "delivered")]


def test_an_update_of_a_dropped_delivery_is_ignored() -> None:
    delivery_log = DeliveryLog()
    for number in range(KEPT + 1):
        delivery_log.add(a_delivery(f"cb_{number}", at=START + number))
    delivery_log.update(a_delivery("cb_0"))
    delivery_log.update(a_delivery("cb_0", "stranger"))
    assert "cb_0" not in [d.id for d in delivery_log.latest(every_owner)]


def test_deliveries_of_the_least_recent_of_very_many_owners_are_forgotten() -> None:
    delivery_log = DeliveryLog()
    delivery_log.add(a_delivery("cb_quiet", "quiet"))
    delivery_log.add(a_delivery("cb_old", "lively"))
    for number in range(OWNERS_MAX - 2):
        delivery_log.add(a_delivery(f"cb_{number}", f"owner-{number}", START + 1))
    delivery_log.add(replace(a_delivery("cb_new", "lively"), created_at=START + 2))
    delivery_log.add(a_delivery("cb_latest", "latest", START + 3))
    assert delivery_log.latest("quiet".__eq__) == []
    assert [d.id for d in delivery_log.latest("lively".__eq__)] == ["cb_new", "cb_old"]
