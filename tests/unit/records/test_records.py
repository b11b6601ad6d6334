"""The port of records. Every test runs over each of its implementations."""

from __future__ import annotations

import pytest

from manager_agent.not_acting import NotActing
from manager_agent.records.records import Kind, Record, Records, RecordStats

pytestmark = pytest.mark.unit


class SetClock:
    """A clock that shows what it is set to."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


async def keys(records: Records, kind: Kind = Kind.ANSWER) -> list[str]:
    await records.committed()
    return [record.key for record in await records.load(kind)]


async def test_records_are_loaded_as_they_were_put(records: Records) -> None:
    """Any bytes and any text; other kinds with the same key are other records."""
    put = [
        Record(Kind.ANSWER, "a", bytes(range(256)) * 100, 2_000.5),
        Record(Kind.ANSWER, "", b""),
        Record(Kind.ANSWER, "名字 \x00'\"", b"x"),
    ]
    for record in put:
        records.put(record.kind, record.key, record.value, record.expires_at)
    records.put(Kind.DELIVERY, "a", b"another")
    await records.committed()
    assert list(await records.load(Kind.ANSWER)) == put
    assert [record.value for record in await records.load(Kind.DELIVERY)] == [b"another"]
    assert await records.load(Kind.ROOM_NAME) == []


async def test_record_that_is_put_again_keeps_its_place_and_has_the_last_value(records: Records) -> None:
    for key, value in (("a", b"1"), ("b", b"1"), ("a", b"2")):
        records.put(Kind.ANSWER, key, value)
        await records.committed()
    records.put(Kind.ANSWER, "a", b"3")
    records.put(Kind.ANSWER, "a", b"4", 1_500.0)
    await records.committed()
    assert list(await records.load(Kind.ANSWER)) == [
        Record(Kind.ANSWER, "a", b"4", 1_500.0),
        Record(Kind.ANSWER, "b", b"1"),
    ]


async def test_deleted_record_is_gone_and_comes_last_when_it_is_put_again(records: Records) -> None:
    for key in "abc":
        records.put(Kind.ANSWER, key, b"")
    await records.committed()
    for key in ("a", "never put"):
        records.delete(Kind.ANSWER, key)
    assert await keys(records) == ["b", "c"]
    records.delete(Kind.ANSWER, "b")
    records.put(Kind.ANSWER, "b", b"")
    records.put(Kind.ANSWER, "d", b"")
    records.delete(Kind.ANSWER, "d")
    assert await keys(records) == ["c", "b"]


async def test_expired_records_are_not_loaded(records: Records, clock: SetClock) -> None:
    for key, expires_at in (("a", 1_010.0), ("b", 1_020.0), ("c", None)):
        records.put(Kind.ANSWER, key, b"", expires_at)
    assert await keys(records) == ["a", "b", "c"]
    clock.now = 1_010.0
    assert await keys(records) == ["b", "c"]
    clock.now = 1e12
    assert await keys(records) == ["c"]


async def test_records_that_are_committed_are_not_pending(records: Records) -> None:
    for n in range(1_000):
        records.put(Kind.ANSWER, str(n), b"x" * 1_000)
    await records.committed()
    assert records.stats == RecordStats()
    assert len(await keys(records)) == 1_000


async def test_nothing_put_is_committed_at_once(records: Records) -> None:
    await records.committed()
    assert await records.load(Kind.ANSWER) == []


async def test_frozen_records_keep_what_was_put_before_and_nothing_later(records: Records) -> None:
    if records.is_shared:
        pytest.skip("all replicas write")
    records.put(Kind.ANSWER, "before", b"1")
    records.freeze()
    records.put(Kind.ANSWER, "before", b"2")
    records.put(Kind.ANSWER, "later", b"1")
    records.delete(Kind.ANSWER, "before")
    with pytest.raises(NotActing):
        await records.committed()
    assert list(await records.load(Kind.ANSWER)) == [Record(Kind.ANSWER, "before", b"1")]
