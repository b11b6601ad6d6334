"""Requests that wait: how many may at once, and for how long."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from http_api.access.principals import DEVELOPER, Principal
from http_api.errors import Overloaded, TooManyStreams
from http_api.limits.waiters import Waiters, decided, until
from manager_agent.session import events as ev
from manager_agent.store.memory import MemoryStore
from manager_agent.store.store import UnknownSession
from tests.unit.sessions import ASR, JOINS, START, a_session, after, invited, managed, seen
from tests.unit.waits import let_others_run, never

pytestmark = pytest.mark.unit

NOT_READY = after(a_session(JOINS), *managed(), *invited(ASR))
JOINED = seen("sm-asr-1", "PA_1", START + 1)


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore(lambda: START)
    await store.add(NOT_READY)
    return store


# --- how many ---------------------------------------------------------------------------------------


def test_there_are_so_many_places_and_no_more() -> None:
    """Each is free again when its waiter has left, in whatever way."""
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


def test_the_streams_of_one_caller_are_a_tenth_of_all_places_at_most() -> None:
    """Whoever waits otherwise, and other callers, have the rest; in dev mode everybody is one caller."""
    waiters, acme, rival = Waiters(30), Principal("acme"), Principal("rival")
    with ExitStack() as held:
        for _ in range(3):
            held.enter_context(waiters.stream(acme))
        with pytest.raises(TooManyStreams, match="3 streams"), waiters.stream(acme):
            pass
        assert waiters.count == 3
        with waiters.stream(rival), waiters.waiting():
            assert waiters.count == 5
        for _ in range(27):
            held.enter_context(waiters.stream(DEVELOPER))
        with pytest.raises(Overloaded), waiters.stream(rival):
            pass
    assert waiters.count == 0
    with waiters.stream(acme):
        assert waiters.count == 1


def test_where_there_are_few_places_everybody_may_have_one_stream() -> None:
    waiters, acme = Waiters(3), Principal("acme")
    with waiters.stream(acme):
        with pytest.raises(TooManyStreams), waiters.stream(acme):
            pass
        with waiters.stream(Principal("rival")):
            assert waiters.count == 2


async def test_who_is_cancelled_gives_his_place_back() -> None:
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


async def test_it_is_waited_until_the_session_is_as_wanted(store: MemoryStore) -> None:
    waiting = asyncio.create_task(until(store, "s1", decided, None))
    await let_others_run()
    assert not waiting.done()
    await store.update("s1", JOINED)
    assert await waiting is store.get("s1")


@pytest.mark.parametrize("max_wait", [0, 0.01])
async def test_it_is_as_it_is_when_patience_is_at_an_end(store: MemoryStore, max_wait: float) -> None:
    """And nobody is left who waits for it."""
    assert await until(store, "s1", decided, max_wait) is store.get("s1")
    assert store.waiters == 0


async def test_without_patience_what_is_so_already_is_seen(store: MemoryStore) -> None:
    await store.update("s1", JOINED)
    assert decided(await until(store, "s1", decided, 0))


async def test_one_that_is_forgotten_meanwhile_is_unknown(store: MemoryStore) -> None:
    waiting = asyncio.create_task(until(store, "s1", decided, 60))
    await let_others_run()
    store.remove("s1")
    with pytest.raises(UnknownSession):
        await waiting


def test_it_is_decided_once_it_is_ready_or_over() -> None:
    assert not decided(NOT_READY)
    assert decided(after(NOT_READY, JOINED))
    assert decided(after(NOT_READY, ev.SessionClosed(START)))
