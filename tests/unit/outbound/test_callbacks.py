"""Telling back ends what becomes of sessions: whose turn it is, and what one receiver can do to the others. Time is
virtual: hours pass at once."""

from __future__ import annotations

import asyncio
import functools
import json
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from manager_agent.outbound.address_policy import LOOPBACK, AddressPolicy
from manager_agent.outbound.callbacks import (
    LINE_MAX,
    OWNER_BYTES_MAX,
    OWNER_UNDER_WAY_MAX,
    STOP_PATIENCE,
    UNDER_WAY_MAX,
    Callbacks,
)
from manager_agent.outbound.deliveries import PATIENCE, Delivery
from manager_agent.outbound.http_client import DeliveryFailed, GuardedHttpClient
from manager_agent.session import events as ev
from manager_agent.session.events import Event
from manager_agent.session.session import Session
from manager_agent.store.memory import MemoryStore
from tests.unit.sessions import JOINS, START, a_session, invited, left, managed, seen

pytestmark = pytest.mark.unit

URL = "https://shop.example/sessions?word=a-word"
READY: list[Event] = [*managed(), *invited(0), seen("sm-asr-1", "PA_1", START)]
ACTIVE, READY_AGAIN = seen("alice", "PA_2", START), left("alice", "PA_2", START)
CLOSED = ev.SessionClosed(START)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its time passes only when everybody sleeps, and then at once."""

    def __init__(self) -> None:
        self.now = START
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self.now


class _Selector(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found and timeout is not None:
            self._loop.now += timeout
        return found


def in_virtual_time(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    @functools.wraps(test)
    def run() -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test())

    return run


@dataclass(frozen=True)
class Sent:
    """One try, as the receiver sees it."""

    at: float
    id: str
    event: str
    session_id: str
    body: bytes
    address: str


Answer = Callable[[Sent], Awaitable[int]]


class StandInCourier(GuardedHttpClient):
    """Sends nothing, and answers for the receivers."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(AddressPolicy(LOOPBACK, 1, lambda _: True))
        self.sent: list[Sent] = []
        self.under_way = self.under_way_most = 0
        self._answer = answer

    async def start(self) -> None: ...

    async def aclose(self) -> None: ...

    async def deliver(self, address: str, body: bytes, headers: Mapping[str, str]) -> int:
        said = json.loads(body)
        sent = Sent(now(), said["id"], said["event"], said["session"]["session_id"], body, address)
        self.sent.append(sent)
        self.under_way += 1
        self.under_way_most = max(self.under_way_most, self.under_way)
        try:
            return await self._answer(sent)
        finally:
            self.under_way -= 1


@dataclass
class Scene:
    store: MemoryStore
    http_client: StandInCourier
    callbacks: Callbacks

    async def happens(self, session_id: str, *events: Event) -> None:
        for event in events:
            await self.store.update(session_id, event)

    async def opens(self, session_id: str, *events: Event, owner: str = "shop", url: str | None = URL) -> None:
        room = f"room-{session_id}"
        asked = replace(a_session(JOINS), session_id=session_id, room_name=room, owner=owner, callback_url=url)
        await self.store.add(asked)
        await self.happens(session_id, *events)

    def told(self, session_id: str = "s1") -> list[str]:
        """The events that this session's receiver was sent, one for each try."""
        return [sent.event for sent in self.http_client.sent if sent.session_id == session_id]

    def fates(self) -> list[tuple[str, str]]:
        """Event and state of each, oldest first."""
        return [(delivery.event, delivery.state) for delivery in self.delivery_log()]

    def delivery_log(self) -> list[Delivery]:
        return self.callbacks.delivery_log.latest(lambda _: True)[::-1]


def scene(
    answer: Answer,
    *,
    view: Callable[[Session], dict[str, Any]] = lambda session: {"session_id": session.session_id},
    signing_keys: Callable[[str], tuple[str, str]] = lambda owner: (owner, "f" * 64),
) -> Scene:
    store, http_client = MemoryStore(now), StandInCourier(answer)
    callbacks = Callbacks(http_client=http_client, clock=now, view=view, signing_keys=signing_keys)
    store.listen(callbacks.tell)
    return Scene(store, http_client, callbacks)


def now() -> float:
    return asyncio.get_running_loop().time()


async def taken(_: Sent) -> int:
    return 200


async def hangs(_: Sent) -> int:
    await asyncio.sleep(5)
    raise DeliveryFailed("TimeoutError")


def given(logs: list[EventDict], event: str) -> list[EventDict]:
    return [entry for entry in logs if entry["event"] == event]


@in_virtual_time
async def test_every_state_is_told_though_all_pass_within_one_turn() -> None:
    """And only those: what changes no state, or waits, is no event."""
    stage = scene(taken)
    await stage.opens("s1", *READY, ACTIVE, READY_AGAIN, CLOSED, ev.CleanUpStarted(START))
    await asyncio.sleep(1)
    assert stage.told() == ["session_ready", "session_active", "session_ready", "session_ended"]
    assert stage.fates() == [(event, "delivered") for event in stage.told()]


@in_virtual_time
async def test_a_session_without_a_callback_is_none_of_anybodys() -> None:
    stage = scene(taken)
    await stage.opens("s1", *READY, CLOSED, url=None)
    await asyncio.sleep(1)
    assert stage.http_client.sent == []
    assert stage.delivery_log() == []


@in_virtual_time
async def test_the_body_shows_the_session_as_it_was_at_that_moment() -> None:
    stage = scene(taken, view=lambda session: {"session_id": session.session_id, "state": session.state})
    await stage.opens("s1", *READY, CLOSED)
    await asyncio.sleep(1)
    bodies = [json.loads(sent.body) for sent in stage.http_client.sent]
    assert [body["session"]["state"] for body in bodies] == ["ready", "ended"]
    assert bodies[0] == {
        "event": "session_ready",
        "id": stage.http_client.sent[0].id,
        "createdAt": str(int(START)),
        "session": {"session_id": "s1", "state": "ready"},
    }
    assert len({body["id"] for body in bodies}) == 2


@in_virtual_time
async def test_the_next_is_not_sent_before_the_one_before_is_delivered() -> None:
    """However long that takes, and though it would be taken."""
    mended = asyncio.Event()

    async def first_fails(sent: Sent) -> int:
        return 200 if mended.is_set() else 503

    stage = scene(first_fails)
    await stage.opens("s1", *READY, ACTIVE, CLOSED)
    await asyncio.sleep(100)
    assert set(stage.told()) == {"session_ready"}
    mended.set()
    await asyncio.sleep(100)
    assert stage.told()[-3:] == ["session_ready", "session_active", "session_ended"]
    assert len({(sent.id, sent.body) for sent in stage.http_client.sent}) == 3


@in_virtual_time
async def test_what_nobody_takes_is_given_up_after_ten_minutes_and_the_next_has_its_turn() -> None:
    async def takes_the_last(sent: Sent) -> int:
        if sent.event == "session_ready":
            raise DeliveryFailed("not connected: Connection refused")
        return 200

    stage = scene(takes_the_last)
    await stage.opens("s1", *READY, CLOSED)
    await asyncio.sleep(2 * PATIENCE)
    assert stage.fates() == [("session_ready", "given_up"), ("session_ended", "delivered")]
    lost, last = stage.delivery_log()
    assert lost.last_error == "not connected: Connection refused"
    assert lost.tries == stage.told().count("session_ready") > 10
    assert START + PATIENCE - 100 < last.finished_at <= START + PATIENCE  # type: ignore[operator]


@in_virtual_time
async def test_sessions_do_not_wait_for_each_other() -> None:
    async def first_hangs(sent: Sent) -> int:
        return await (hangs if sent.session_id == "s1" else taken)(sent)

    stage = scene(first_hangs)
    await stage.opens("s1", *READY)
    await stage.opens("s2", *READY, CLOSED)
    await asyncio.sleep(0.1)
    assert stage.told("s2") == ["session_ready", "session_ended"]


@in_virtual_time
async def test_after_410_nothing_more_is_told_of_that_session() -> None:
    """Neither what was waiting nor what comes later; of others it is."""

    async def unwanted(sent: Sent) -> int:
        await asyncio.sleep(1)
        return 410 if sent.session_id == "s1" else 200

    stage = scene(unwanted)
    await stage.opens("s1", *READY, ACTIVE)
    await asyncio.sleep(2)
    await stage.happens("s1", READY_AGAIN, CLOSED)
    await stage.opens("s2", *READY)
    await asyncio.sleep(2)
    assert stage.told() == ["session_ready"]
    assert stage.told("s2") == ["session_ready"]
    assert stage.fates() == [
        ("session_ready", "given_up"),
        ("session_active", "given_up"),
        ("session_ready", "delivered"),
    ]
    assert [delivery.last_error for delivery in stage.delivery_log()] == [
        None,
        "an earlier event of the session was answered with 410",
        None,
    ]


@in_virtual_time
async def test_of_what_waits_for_one_session_the_oldest_gives_way_to_the_newest() -> None:
    """All but the one that is being tried."""
    answering = asyncio.Event()

    async def late(sent: Sent) -> int:
        await answering.wait()
        return 200

    stage = scene(late)
    comings = [event for _ in range(LINE_MAX) for event in (ACTIVE, READY_AGAIN)]
    fresh = (
        replace(event, participant=replace(event.participant, sid=f"PA_u{n // 2}"))
        if isinstance(event, ev.ParticipantSeen)
        else replace(event, sid=f"PA_u{n // 2}")
        for n, event in enumerate(comings)
    )
    await stage.opens("s1", *READY)
    await asyncio.sleep(1)
    await stage.happens("s1", *fresh, CLOSED)
    answering.set()
    await asyncio.sleep(1)
    assert len(stage.told()) == LINE_MAX
    assert (stage.told()[0], stage.told()[-1]) == ("session_ready", "session_ended")
    states = [state for _, state in stage.fates()]
    assert states == ["delivered", *["given_up"] * (len(states) - LINE_MAX), *["delivered"] * (LINE_MAX - 1)]


@in_virtual_time
async def test_an_owner_has_so_much_room_for_what_waits_and_others_have_theirs() -> None:
    many = OWNER_BYTES_MAX // 1_000_000
    big = {"metadata": "x" * 1_000_000}
    stage = scene(hangs, view=lambda session: {"session_id": session.session_id, **big})
    for n in range(many + 3):
        await stage.opens(f"s{n}", *READY)
    await asyncio.sleep(0.001)
    await stage.opens("other", *READY, owner="desk")
    states = [delivery.state for delivery in stage.delivery_log()]
    assert states == ["pending"] * many + ["given_up"] * 3 + ["pending"]
    assert stage.delivery_log()[-2].last_error == "too much is waiting to be delivered"
    await asyncio.sleep(2 * PATIENCE)  # all are given up by then, and make room
    await stage.opens("later", *READY)
    assert stage.delivery_log()[-1].state == "pending"


@in_virtual_time
async def test_receivers_that_hang_keep_only_their_own_owner_waiting() -> None:
    async def shops_hang(sent: Sent) -> int:
        return await (taken if sent.session_id == "quick" else hangs)(sent)

    stage = scene(shops_hang)
    for n in range(300):
        await stage.opens(f"s{n}", *READY)
    await stage.opens("quick", *READY, owner="desk")
    await asyncio.sleep(1)
    assert stage.told("quick") == ["session_ready"]
    assert stage.http_client.under_way == OWNER_UNDER_WAY_MAX


@in_virtual_time
async def test_so_many_tries_are_under_way_at_once_and_no_more() -> None:
    stage = scene(hangs)
    for n in range(400):
        await stage.opens(f"s{n}", *READY, owner=f"owner-{n % 20}")
    await asyncio.sleep(60)
    assert stage.http_client.under_way_most == UNDER_WAY_MAX
    assert len({sent.session_id for sent in stage.http_client.sent}) == 400


@in_virtual_time
async def test_an_error_of_our_own_is_logged_and_the_event_tried_again() -> None:
    faults = iter([RuntimeError("what nobody expects")])

    def signing_keys(owner: str) -> tuple[str, str]:
        if (fault := next(faults, None)) is not None:
            raise fault
        return owner, "f" * 64

    stage = scene(taken, signing_keys=signing_keys)
    with capture_logs() as logs:
        await stage.opens("s1", *READY)
        await asyncio.sleep(5)
    assert stage.fates() == [("session_ready", "delivered")]
    assert len(given(logs, "callback_fault")) == 1


@in_virtual_time
async def test_logs_name_the_host_and_nothing_else_of_the_url() -> None:
    stage = scene(hangs)
    with capture_logs() as logs:
        await stage.opens("s1", *READY)
        await asyncio.sleep(2 * PATIENCE)
    assert given(logs, "callback_failed")
    assert [entry["host"] for entry in given(logs, "callback_given_up")] == ["shop.example"]
    assert "a-word" not in str(logs)
    assert stage.http_client.sent[0].address == URL


@in_virtual_time
async def test_at_the_end_what_waits_for_its_next_try_is_tried_at_once() -> None:
    answers = iter([503, 503, 503, 503, 503, 200, 503, 200])

    async def recovers(sent: Sent) -> int:
        return next(answers)

    stage = scene(recovers)
    await stage.opens("s1", *READY)
    await asyncio.sleep(25)
    assert len(stage.http_client.sent) == 5
    await stage.happens("s1", CLOSED)
    stopped_at = now()
    with capture_logs() as logs:
        await stage.callbacks.aclose()
    assert stage.fates() == [("session_ready", "delivered"), ("session_ended", "delivered")]
    assert [sent.at for sent in stage.http_client.sent[5:7]] == [stopped_at, stopped_at]
    assert given(logs, "callbacks_dropped") == []


@in_virtual_time
async def test_at_the_end_the_rest_is_dropped_after_three_seconds_and_one_line_says_how_many() -> None:
    stage = scene(hangs)
    for n in range(10):
        await stage.opens(f"s{n}", *READY, CLOSED)
    await asyncio.sleep(1)
    stopped_at = now()
    with capture_logs() as logs:
        await stage.callbacks.aclose()
    assert now() - stopped_at == pytest.approx(STOP_PATIENCE)
    assert [entry["count"] for entry in given(logs, "callbacks_dropped")] == [20]
    assert asyncio.all_tasks() == {asyncio.current_task()}


@in_virtual_time
async def test_when_nothing_is_pending_the_end_comes_at_once() -> None:
    stage = scene(taken)
    await stage.opens("s1", *READY, CLOSED)
    await asyncio.sleep(1)
    stopped_at = now()
    await stage.callbacks.aclose()
    assert now() == stopped_at


@in_virtual_time
async def test_nothing_is_kept_of_sessions_that_are_over() -> None:
    """Not of those either of which nobody wanted to hear."""

    async def mixed(sent: Sent) -> int:
        return 410 if sent.session_id in ("s1", "s2") else 200

    stage = scene(mixed)
    for n in range(4):
        await stage.opens(f"s{n}", *READY)
    await stage.happens("s2", CLOSED)
    await asyncio.sleep(1)
    for n in (0, 1, 3):
        await stage.happens(f"s{n}", CLOSED)
    await asyncio.sleep(1)
    assert (stage.callbacks._lines, dict(stage.callbacks._bytes)) == ({}, {})
    assert asyncio.all_tasks() == {asyncio.current_task()}
