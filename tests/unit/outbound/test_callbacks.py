"""Callbacks to clients' back ends: their order, the limits, and how little one receiver can do to the others. Time is
virtual: hours pass at once."""

from __future__ import annotations

import asyncio
import json

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from manager_agent.frozen import replace
from manager_agent.outbound.callbacks import STOP_TIMEOUT
from manager_agent.outbound.deliveries import RETRY_WINDOW
from manager_agent.outbound.delivery_queues import OWNER_BYTES_MAX, QUEUE_MAX
from manager_agent.outbound.http_client import BOUNDS, DeliveryFailed
from manager_agent.session import events as ev
from tests.unit.outbound.callback_harness import (
    ACTIVE,
    CLOSED,
    READY,
    READY_AGAIN,
    URL,
    CallbackHarness,
    Sent,
    accepts,
    hangs,
)
from tests.unit.sessions import START
from tests.unit.virtual_time import in_virtual_time, let_pass, now
from tests.unit.waits import until

pytestmark = pytest.mark.unit


def entries(logs: list[EventDict], event: str) -> list[EventDict]:
    return [entry for entry in logs if entry["event"] == event]


@in_virtual_time
async def test_every_state_has_a_callback_even_if_all_change_in_one_loop_turn() -> None:
    """And nothing else: a change that leaves the state as it was is no event, and neither is `waiting`."""
    harness = CallbackHarness(accepts)
    await harness.open("s1", *READY, ACTIVE, READY_AGAIN, CLOSED, ev.CleanUpStarted(START))
    await let_pass(1)
    assert harness.sent_events() == ["session_ready", "session_active", "session_ready", "session_ended"]
    assert harness.outcomes() == [(event, "delivered") for event in harness.sent_events()]


@in_virtual_time
async def test_a_session_without_a_callback_url_sends_nothing() -> None:
    harness = CallbackHarness(accepts)
    await harness.open("s1", *READY, CLOSED, url=None)
    await let_pass(1)
    assert harness.http_client.sent == []
    assert harness.deliveries() == []


@in_virtual_time
async def test_the_callback_body_shows_the_session_as_it_was_at_the_event() -> None:
    harness = CallbackHarness(accepts, view=lambda session: {"session_id": session.session_id, "state": session.state})
    await harness.open("s1", *READY, CLOSED)
    await let_pass(1)
    bodies = [json.loads(sent.body) for sent in harness.http_client.sent]
    assert [body["session"]["state"] for body in bodies] == ["ready", "ended"]
    assert bodies[0] == {
        "event": "session_ready",
        "id": harness.http_client.sent[0].id,
        "createdAt": str(int(START)),
        "session": {"session_id": "s1", "state": "ready"},
    }
    assert len({body["id"] for body in bodies}) == 2


@in_virtual_time
async def test_a_callback_is_not_sent_before_the_previous_one_is_delivered() -> None:
    """However long that takes, and even if the receiver would accept it."""
    repaired = asyncio.Event()

    async def first_fails(sent: Sent) -> int:
        return 200 if repaired.is_set() else 503

    harness = CallbackHarness(first_fails)
    await harness.open("s1", *READY, ACTIVE, CLOSED)
    await let_pass(100)
    assert set(harness.sent_events()) == {"session_ready"}
    repaired.set()
    await let_pass(100)
    assert harness.sent_events()[-3:] == ["session_ready", "session_active", "session_ended"]
    assert len({(sent.id, sent.body) for sent in harness.http_client.sent}) == 3


@in_virtual_time
async def test_an_undeliverable_callback_is_given_up_after_ten_minutes_and_the_next_sent() -> None:
    async def takes_the_last(sent: Sent) -> int:
        if sent.event == "session_ready":
            raise DeliveryFailed("not connected: Connection refused")
        return 200

    harness = CallbackHarness(takes_the_last)
    await harness.open("s1", *READY, CLOSED)
    await let_pass(2 * RETRY_WINDOW)
    assert harness.outcomes() == [("session_ready", "given_up"), ("session_ended", "delivered")]
    given_up, delivered = harness.deliveries()
    assert given_up.last_error == "not connected: Connection refused"
    assert given_up.tries == harness.sent_events().count("session_ready") > 10
    assert START + RETRY_WINDOW - 100 < delivered.finished_at <= START + RETRY_WINDOW  # type: ignore[operator]


@in_virtual_time
async def test_callbacks_of_one_session_do_not_wait_for_those_of_another() -> None:
    async def first_hangs(sent: Sent) -> int:
        return await (hangs if sent.session_id == "s1" else accepts)(sent)

    harness = CallbackHarness(first_hangs)
    await harness.open("s1", *READY)
    await harness.open("s2", *READY, CLOSED)
    await let_pass(0.1)
    assert harness.sent_events("s2") == ["session_ready", "session_ended"]


@in_virtual_time
async def test_after_410_no_further_callbacks_of_that_session_are_sent() -> None:
    """Neither those that waited nor later ones. Other sessions are not affected."""

    async def unwanted(sent: Sent) -> int:
        await let_pass(1)
        return 410 if sent.session_id == "s1" else 200

    harness = CallbackHarness(unwanted)
    await harness.open("s1", *READY, ACTIVE)
    await let_pass(2)
    await harness.update("s1", READY_AGAIN, CLOSED)
    await harness.open("s2", *READY)
    await let_pass(2)
    assert harness.sent_events() == ["session_ready"]
    assert harness.sent_events("s2") == ["session_ready"]
    assert harness.outcomes() == [
        ("session_ready", "given_up"),
        ("session_active", "given_up"),
        ("session_ready", "delivered"),
    ]
    assert [delivery.last_error for delivery in harness.deliveries()] == [
        None,
        "an earlier event of the session was answered with 410",
        None,
    ]


@in_virtual_time
async def test_a_full_callback_queue_drops_its_oldest_waiting_event() -> None:
    """Never the one that is being sent."""
    answering = asyncio.Event()

    async def late(sent: Sent) -> int:
        await answering.wait()
        return 200

    harness = CallbackHarness(late)
    comings = [event for _ in range(QUEUE_MAX) for event in (ACTIVE, READY_AGAIN)]
    fresh = (
        replace(event, participant=replace(event.participant, sid=f"PA_u{n // 2}"))
        if isinstance(event, ev.ParticipantSeen)
        else replace(event, sid=f"PA_u{n // 2}")
        for n, event in enumerate(comings)
    )
    await harness.open("s1", *READY)
    await let_pass(1)
    await harness.update("s1", *fresh, CLOSED)
    answering.set()
    await let_pass(1)
    assert len(harness.sent_events()) == QUEUE_MAX
    assert (harness.sent_events()[0], harness.sent_events()[-1]) == ("session_ready", "session_ended")
    states = [state for _, state in harness.outcomes()]
    assert states == ["delivered", *["given_up"] * (len(states) - QUEUE_MAX), *["delivered"] * (QUEUE_MAX - 1)]


@in_virtual_time
async def test_waiting_callbacks_are_limited_in_bytes_for_each_owner() -> None:
    many = OWNER_BYTES_MAX // 1_000_000
    big = {"metadata": "x" * 1_000_000}
    harness = CallbackHarness(hangs, view=lambda session: {"session_id": session.session_id, **big})
    for n in range(many + 3):
        await harness.open(f"s{n}", *READY)
    await let_pass(0.001)
    await harness.open("other", *READY, owner="desk")
    states = [delivery.state for delivery in harness.deliveries()]
    assert states == ["pending"] * many + ["given_up"] * 3 + ["pending"]
    assert harness.deliveries()[-2].last_error == "too much is waiting to be delivered"
    await let_pass(2 * RETRY_WINDOW)  # by then all are given up and have made room
    await harness.open("later", *READY)
    assert harness.deliveries()[-1].state == "pending"


@in_virtual_time
async def test_callback_receivers_that_hang_delay_only_their_own_owner() -> None:
    async def shops_hang(sent: Sent) -> int:
        return await (accepts if sent.session_id == "quick" else hangs)(sent)

    harness = CallbackHarness(shops_hang)
    for n in range(300):
        await harness.open(f"s{n}", *READY)
    await harness.open("quick", *READY, owner="desk")
    await let_pass(1)
    assert harness.sent_events("quick") == ["session_ready"]
    assert harness.http_client.under_way == BOUNDS.per_owner


@in_virtual_time
async def test_the_number_of_concurrent_deliveries_is_limited() -> None:
    harness = CallbackHarness(hangs)
    for n in range(400):
        await harness.open(f"s{n}", *READY, owner=f"owner-{n % 20}")
    await let_pass(60)
    assert harness.http_client.under_way_most == BOUNDS.in_all
    assert len({sent.session_id for sent in harness.http_client.sent}) == 400


@in_virtual_time
async def test_an_internal_error_is_logged_and_the_callback_is_tried_again() -> None:
    faults = iter([RuntimeError("unexpected")])

    def signing_keys(owner: str) -> tuple[str, str]:
        if (fault := next(faults, None)) is not None:
            raise fault
        return owner, "f" * 64

    harness = CallbackHarness(accepts, signing_keys=signing_keys)
    with capture_logs() as logs:
        await harness.open("s1", *READY)
        await let_pass(5)
    assert harness.outcomes() == [("session_ready", "delivered")]
    assert len(entries(logs, "callback_fault")) == 1


@in_virtual_time
async def test_callback_logs_contain_the_host_and_nothing_else_of_the_url() -> None:
    harness = CallbackHarness(hangs)
    with capture_logs() as logs:
        await harness.open("s1", *READY)
        await let_pass(2 * RETRY_WINDOW)
    assert entries(logs, "callback_failed")
    assert [entry["host"] for entry in entries(logs, "callback_given_up")] == ["shop.example"]
    assert "a-word" not in str(logs)
    assert harness.http_client.sent[0].address == URL


@in_virtual_time
async def test_on_shutdown_a_callback_that_waits_for_its_next_try_is_tried_at_once() -> None:
    answers = iter([503, 503, 503, 503, 503, 200, 503, 200])

    async def recovers(sent: Sent) -> int:
        return next(answers)

    harness = CallbackHarness(recovers)
    await harness.open("s1", *READY)
    await until(lambda: len(harness.http_client.sent), lambda tries: tries == 5)
    await harness.update("s1", CLOSED)
    stopped_at = now()
    with capture_logs() as logs:
        await harness.callbacks.aclose()
    assert harness.outcomes() == [("session_ready", "delivered"), ("session_ended", "delivered")]
    assert [sent.at for sent in harness.http_client.sent[5:7]] == [stopped_at, stopped_at]
    assert entries(logs, "callbacks_left") == []


@in_virtual_time
async def test_on_shutdown_remaining_callbacks_are_left_after_two_seconds_and_logged() -> None:
    harness = CallbackHarness(hangs)
    for n in range(10):
        await harness.open(f"s{n}", *READY, CLOSED)
    await let_pass(1)
    stopped_at = now()
    with capture_logs() as logs:
        await harness.callbacks.aclose()
    assert now() - stopped_at == pytest.approx(STOP_TIMEOUT)
    assert [entry["count"] for entry in entries(logs, "callbacks_left")] == [20]
    assert asyncio.all_tasks() == {asyncio.current_task()}


@in_virtual_time
async def test_shutdown_is_immediate_when_no_callback_is_pending() -> None:
    harness = CallbackHarness(accepts)
    await harness.open("s1", *READY, CLOSED)
    await let_pass(1)
    stopped_at = now()
    await harness.callbacks.aclose()
    assert now() == stopped_at


@in_virtual_time
async def test_callbacks_keep_nothing_of_sessions_that_are_over() -> None:
    """Including sessions whose receiver answered 410."""

    async def mixed(sent: Sent) -> int:
        return 410 if sent.session_id in ("s1", "s2") else 200

    harness = CallbackHarness(mixed)
    for n in range(4):
        await harness.open(f"s{n}", *READY)
    await harness.update("s2", CLOSED)
    await let_pass(1)
    for n in (0, 1, 3):
        await harness.update(f"s{n}", CLOSED)
    await let_pass(1)
    assert (harness.callbacks._queues, len(harness.callbacks._bytes)) == ({}, 0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
