"""Session counts equal what a search over all sessions would find."""

from __future__ import annotations

from collections import Counter

import pytest

from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.counts import SessionCounts
from manager_agent.session.events import Chosen
from manager_agent.session.session import Session, SessionState
from manager_agent.store.memory import MemoryStore
from tests.unit.sessions import JOINS, SIGNALS, START, a_session, accepted, created, invited, seen

pytestmark = pytest.mark.unit


Counts = tuple[int, int, Counter[str], Counter[str], Counter[SessionState]]
"""Live sessions, those without a room, both of each owner, and all sessions by state."""


def found(sessions: list[Session]) -> Counts:
    live = [session for session in sessions if not session.over]
    making = sum(session.room.created_at is None for session in live)
    making_of = Counter(s.owner for s in live if s.room.created_at is None)
    return len(live), making, Counter(s.owner for s in live), making_of, Counter(s.state for s in sessions)


def counted(counts: SessionCounts) -> Counts:
    owners = Counter({name: counts.live_of(name) for name in ("a", "b")})
    making_of = Counter({name: counts.in_making_of(name) for name in ("a", "b")})
    return counts.live, counts.in_making, owners, making_of, counts.by_state


async def test_session_counts_follow_the_life_of_sessions() -> None:
    store = MemoryStore(lambda: START)
    for n in range(6):
        await store.add(replace(a_session(JOINS), session_id=f"s{n}", room_name=f"r{n}", owner="ab"[n % 2]))
        assert counted(store.counts) == found(list(store.list()))
    assert store.counts.live_of("a") == 3
    for n in range(6):
        for event in (ev.RoomRequested(START), ev.RoomCreated(START, "RM"), ev.SessionClosed(START)):
            await store.update(f"s{n}", event)
            assert counted(store.counts) == found(list(store.list()))
    assert (store.counts.live, store.counts.in_making) == (0, 0)


async def test_a_probe_session_counts_as_live_and_in_no_state() -> None:
    """No client requested it; it probes that the server works."""
    store = MemoryStore(lambda: START)
    await store.add(a_session())
    assert counted(store.counts) == (1, 1, Counter(), Counter(), Counter())
    await store.update("s1", ev.SessionClosed(START))
    await store.remove("s1")
    assert counted(store.counts) == (0, 0, Counter(), Counter(), Counter())


async def test_a_session_removed_while_it_lives_is_no_longer_counted() -> None:
    """So is one whose room name turned out to be taken."""
    store = MemoryStore(lambda: START)
    await store.add(replace(a_session(JOINS), owner="a"))
    await store.remove("s1")
    assert counted(store.counts) == (0, 0, Counter(), Counter(), Counter())
    assert store.counts.in_use("asr") == 0


async def test_a_service_is_in_use_in_each_live_session_that_has_reserved_it() -> None:
    """A listener is told of a service when its number may have changed, and of nothing else."""
    store, told = MemoryStore(lambda: START), list[str]()
    store.counts.listen(told.append)
    for session_id in ("s1", "s2"):
        await store.add(replace(a_session(JOINS, SIGNALS), session_id=session_id, room_name=session_id, owner="a"))
    assert told == ["asr-service", "llm-service"] * 2
    assert [store.counts.in_use(name) for name in ("asr-service", "llm-service", "tts")] == [2, 2, 0]
    told.clear()

    for event in (*created(), *invited(0, 1), *accepted(0, 1)):
        await store.update("s1", event)
    assert set(told) <= {"asr-service", "llm-service"}
    told.clear()
    await store.update("s1", ev.TokenGiven(START + 1, "alice"))
    await store.update("s1", seen("sm-asr-1", "PA_asr", START + 1))
    assert told == [], "the same services serve it"

    other = Chosen("asr-2", "ASR", "http://asr-2.example/invite")
    await store.update("s1", ev.InviteStarted(START + 2, 0, 2, 1, "sm-asr-2", "inv_2", other))
    assert [store.counts.in_use(name) for name in ("asr-service", "asr-2", "llm-service")] == [1, 1, 2]
    assert "asr-2" in told
    assert "asr-service" in told
    await store.update("s1", ev.SessionClosed(START + 3))
    assert [store.counts.in_use(name) for name in ("asr-service", "asr-2", "llm-service")] == [1, 0, 1]
