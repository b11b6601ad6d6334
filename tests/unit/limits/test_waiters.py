"""Requests that wait: how many may at once, and for how long."""

from __future__ import annotations

import asyncio

import pytest

from http_api.access.principals import DEVELOPER, Principal
from http_api.errors import Overloaded, TooManyStreams
from http_api.limits.waiters import Waiters, decided, until
from http_api.stopping import TimeLimits
from manager_agent.session import events as ev
from manager_agent.store.memory import MemoryStore
from manager_agent.store.store import UnknownSession
from tests.unit import sessions as given
from tests.unit.sessions import ASR, START
from tests.unit.waits import let_others_run, never

pytestmark = pytest.mark.unit

NOT_READY = given.after(given.a_session(given.JOINS), *given.managed(), *given.invited(ASR))
JOINED = given.seen("sm-asr-1", "PA_1", START + 1)


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore(lambda: START)
    await store.add(NOT_READY)
    return store


# --- how many ---------------------------------------------------------------------------------------


def test_the_number_of_waiting_requests_is_limited() -> None:
    """Each slot is free again when its request is over, in whatever way."""
    waiters = Waiters(2)
    with waiters.waiting():
        with pytest.raises(ZeroDivisionError), waiters.waiting():
            1 / 0  # noqa: B018
        with waiters.waiting():
            assert waiters.count == 2
            with pytest.raises(Overloaded, match="2 requests"), waiters.waiting():
                pass
            assert waiters.count == 2
    assert waiters.count == 0


def begin_streams(waiters: Waiters, principal: Principal, count: int = 1) -> None:
    for _ in range(count):
        waiters.stream_begins(principal)


def test_streams_of_one_caller_take_at_most_a_tenth_of_all_slots() -> None:
    """Other requests and other callers have the rest. In dev mode there is only one caller."""
    waiters, acme, rival = Waiters(30), Principal("acme"), Principal("rival")
    begin_streams(waiters, acme, 3)
    with pytest.raises(TooManyStreams, match="3 event streams"):
        waiters.stream_begins(acme)
    assert waiters.count == 3
    waiters.stream_begins(rival)
    with waiters.waiting():
        assert waiters.count == 5
    waiters.stream_ends(rival)
    begin_streams(waiters, DEVELOPER, 27)
    with pytest.raises(Overloaded):
        waiters.stream_begins(rival)
    for principal in (*3 * [acme], *27 * [DEVELOPER]):
        waiters.stream_ends(principal)
    assert waiters.count == 0
    waiters.stream_begins(acme)
    assert waiters.count == 1


def test_a_stream_that_ends_makes_room_for_one_more_of_its_caller() -> None:
    waiters, acme = Waiters(30), Principal("acme")
    begin_streams(waiters, acme, 3)
    with pytest.raises(TooManyStreams):
        waiters.stream_begins(acme)
    waiters.stream_ends(acme)
    waiters.stream_begins(acme)
    with pytest.raises(TooManyStreams):
        waiters.stream_begins(acme)
    assert waiters.count == 3


def test_with_few_slots_every_caller_may_still_have_one_stream() -> None:
    waiters, acme = Waiters(3), Principal("acme")
    waiters.stream_begins(acme)
    with pytest.raises(TooManyStreams):
        waiters.stream_begins(acme)
    waiters.stream_begins(Principal("rival"))
    assert waiters.count == 2


async def test_a_cancelled_request_releases_its_slot() -> None:
    waiters = Waiters(1)

    async def wait() -> None:
        with waiters.waiting():
            await never()

    waiting = asyncio.create_task(wait())
    await let_others_run()
    assert waiters.count == 1
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiters.count == 0


# --- how long ---------------------------------------------------------------------------------------


async def test_until_returns_once_the_session_is_as_wanted(store: MemoryStore) -> None:
    waiting = asyncio.create_task(until(store, "s1", decided, None, TimeLimits()))
    await let_others_run()
    assert not waiting.done()
    await store.update("s1", JOINED)
    assert await waiting is store.get("s1")


@pytest.mark.parametrize("max_wait", [0, 0.01])
async def test_until_returns_the_session_as_it_is_when_max_wait_is_over(store: MemoryStore, max_wait: float) -> None:
    """And leaves no waiter in the store."""
    assert await until(store, "s1", decided, max_wait, TimeLimits()) is store.get("s1")
    assert store.waiters == 0


async def test_until_with_max_wait_zero_sees_a_session_that_is_ready_already(store: MemoryStore) -> None:
    await store.update("s1", JOINED)
    assert decided(await until(store, "s1", decided, 0, TimeLimits()))


async def test_a_session_removed_while_a_request_waits_is_unknown(store: MemoryStore) -> None:
    waiting = asyncio.create_task(until(store, "s1", decided, 60, TimeLimits()))
    await let_others_run()
    await store.remove("s1")
    with pytest.raises(UnknownSession):
        await waiting


def test_a_session_is_decided_once_it_is_ready_or_over() -> None:
    assert not decided(NOT_READY)
    assert decided(given.after(NOT_READY, JOINED))
    assert decided(given.after(NOT_READY, ev.SessionClosed(START)))
