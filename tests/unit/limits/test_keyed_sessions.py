"""The session of an earlier request with the same Idempotency-Key is found among all."""

from __future__ import annotations

import pytest

from http_api.errors import IdempotencyKeyReused
from http_api.limits.idempotency_store import IdempotencyScope
from http_api.limits.key_marks import KeyMark, key_mark
from http_api.limits.keyed_sessions import KeyedSessions
from manager_agent.frozen import replace
from manager_agent.session.session import Session
from manager_agent.store.memory import MemoryStore
from manager_agent.ulids import new_ulid
from tests.unit import sessions as given
from tests.unit.virtual_time import VirtualClock

pytestmark = pytest.mark.unit

APP = "app"


def mark(key: str, body: bytes = b"{}") -> KeyMark:
    return key_mark("a secret", IdempotencyScope(APP, "sessions_create", key), body)


def opened_by(mark: KeyMark, at: float) -> Session:
    session_id = mark.session_id(f"ses_{new_ulid(at)}")
    return replace(given.a_session(), session_id=session_id, room_name=f"room of {session_id}", owner=APP)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(VirtualClock())


@pytest.fixture
def keyed(store: MemoryStore) -> KeyedSessions:
    keyed = KeyedSessions(store)
    store.listen(keyed.tell)
    return keyed


async def test_the_newest_session_of_a_key_is_found(store: MemoryStore, keyed: KeyedSessions) -> None:
    first, second, other = opened_by(mark("a"), 1.0), opened_by(mark("a"), 2.0), opened_by(mark("b"), 3.0)
    for session in (second, other, first):
        await store.add(session)
    assert keyed.of(mark("a")) == [first, second]
    assert mark("a").session_of(APP, keyed.of(mark("a"))) == second
    assert keyed.of(mark("c")) == []


async def test_a_session_of_another_request_with_the_key_is_found(store: MemoryStore, keyed: KeyedSessions) -> None:
    await store.add(opened_by(mark("a", b"{}"), 1.0))
    with pytest.raises(IdempotencyKeyReused):
        mark("a", b"[]").session_of(APP, keyed.of(mark("a", b"[]")))


async def test_a_restored_session_is_found_until_it_is_removed(store: MemoryStore, keyed: KeyedSessions) -> None:
    session = opened_by(mark("a"), 1.0)
    await store.restore(session)
    assert keyed.of(mark("a")) == [session]
    await store.remove(session.session_id)
    assert keyed.of(mark("a")) == []
    assert keyed._ids == {}
