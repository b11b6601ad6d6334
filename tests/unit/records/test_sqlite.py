"""Records in one SQLite file: damaged, newer, private, shared; written in groups by a thread of their own."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from manager_agent.not_acting import NotActing
from manager_agent.records import sqlite, sqlite_opening
from manager_agent.records.pending_changes import PendingChanges, RecordChange
from manager_agent.records.records import Kind, NewerRecords, Record, RecordStats
from manager_agent.records.sqlite import SWEEP_INTERVAL, SqliteRecords
from manager_agent.records.sqlite_file import FILE, SqliteFile
from tests.unit.waits import until

pytestmark = pytest.mark.unit


@asynccontextmanager
async def opened(directory: Path, **more: Any) -> AsyncIterator[SqliteRecords]:
    records = SqliteRecords(directory, time.time, **more)
    try:
        await records.start()
        yield records
    finally:
        await records.aclose()


async def keys(records: SqliteRecords, kind: Kind = Kind.ANSWER) -> list[str]:
    await records.committed()
    return [record.key for record in await records.load(kind)]


async def test_records_file_is_private_and_the_only_one_that_stays(tmp_path: Path) -> None:
    """Its directory is made with it."""
    directory = tmp_path / "made" / "anew"
    async with opened(directory) as records:
        records.put(Kind.ANSWER, "a", b"")
        await records.committed()
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    assert modes == {FILE: 0o600, f"{FILE}-wal": 0o600, f"{FILE}-shm": 0o600}
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert [path.name for path in directory.iterdir()] == [FILE]


async def test_last_changes_are_in_the_file_when_the_records_are_closed(tmp_path: Path) -> None:
    async with opened(tmp_path) as records:
        records.put(Kind.ANSWER, "a", b"")
        records.put(Kind.ANSWER, "b", b"")
    async with opened(tmp_path) as records:
        assert await keys(records) == ["a", "b"]
        records.delete(Kind.ANSWER, "a")
    async with opened(tmp_path) as records:
        assert await keys(records) == ["b"]


def content_of(path: Path, statements: Sequence[str] = ()) -> bytes:
    """The content of a database that these statements made."""
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return path.read_bytes()


async def a_good_file(directory: Path) -> bytes:
    async with opened(directory) as records:
        for n in range(200):
            records.put(Kind.REGISTRATION, str(n), b"x" * 500)
    return (directory / FILE).read_bytes()


@pytest.mark.parametrize(
    "damage", ["text", "zeros", "cut off", "a page of noise", "of another program", "no tables", "another column"]
)
async def test_a_damaged_records_file_is_set_aside_and_the_start_goes_on(tmp_path: Path, damage: str) -> None:
    """A log entry says where it is now, and its content is unchanged."""
    good = await a_good_file(tmp_path / "good")
    path = tmp_path / FILE
    path.write_bytes(good)
    match damage:
        case "text":
            path.write_bytes(b'{"version": 1}' * 1_000)
        case "zeros":
            path.write_bytes(b"\0" * 8_192)
        case "cut off":
            path.write_bytes(good[: len(good) // 2])
        case "a page of noise":
            path.write_bytes(good[:8_192] + b"\xa5" * 4_096 + good[12_288:])
        case "of another program":
            path.unlink()
            content_of(path, ["CREATE TABLE mine (a)"])
        case "no tables":
            content_of(path, ["DROP TABLE record"])
        case "another column":
            content_of(path, ["ALTER TABLE record RENAME COLUMN value TO content"])
    content = path.read_bytes()
    with capture_logs() as logs:
        async with opened(tmp_path) as records:
            assert await keys(records, Kind.REGISTRATION) == []
            records.put(Kind.ANSWER, "a", b"")
            assert await keys(records) == ["a"]
            assert records.stats == RecordStats()
    [said] = [entry for entry in logs if entry["event"] == "records_damaged"]
    assert said["log_level"] == "error"
    assert said["why"]
    assert Path(said["set_aside"]).name.startswith(f"{FILE}.damaged-2")
    assert Path(said["set_aside"]).read_bytes() == content
    async with opened(tmp_path) as records:
        assert await keys(records) == ["a"], "the new file is a good one"


async def test_two_processes_that_find_one_damaged_file_set_aside_only_that(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database" * 1_000)
    files = [SqliteFile(tmp_path) for _ in range(4)]

    def put(n: int) -> None:
        files[n].write([RecordChange(Kind.ANSWER, str(n), Record(Kind.ANSWER, str(n), b""))], 0.0, sweep=False)
        files[n].close()

    await asyncio.gather(*(asyncio.to_thread(put, n) for n in range(4)))
    assert len(list(tmp_path.glob("*.damaged-*"))) == 1
    async with opened(tmp_path) as records:
        assert sorted(await keys(records)) == ["0", "1", "2", "3"]


async def test_records_of_a_newer_version_refuse_the_start_and_stay_as_they_are(tmp_path: Path) -> None:
    await a_good_file(tmp_path)
    content = content_of(tmp_path / FILE, ["PRAGMA user_version = 2"])
    with pytest.raises(NewerRecords, match=r"session-manager\.db .*newer version .* move the file away"):
        async with opened(tmp_path):
            pass
    assert (tmp_path / FILE).read_bytes() == content


async def test_records_file_that_a_newer_version_took_over_is_written_no_more(tmp_path: Path) -> None:
    async with opened(tmp_path) as records:
        content_of(tmp_path / FILE, ["PRAGMA user_version = 2"])
        records.put(Kind.ANSWER, "a", b"")
        await records.committed()
        assert (records.stats.pending, records.stats.is_failing) == (1, True)


async def test_a_removed_records_file_is_made_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as records:
        records.put(Kind.ANSWER, "a", b"")
        await records.committed()
        for path in tmp_path.iterdir():
            path.unlink()
        records.put(Kind.ANSWER, "b", b"")
        with capture_logs() as logs:
            await records.committed()
        assert [entry["event"] for entry in logs] == ["records_file_replaced"]
    async with opened(tmp_path) as records:
        assert await keys(records) == ["b"]


async def test_a_state_dir_that_is_a_file_does_not_stop_the_start(tmp_path: Path) -> None:
    """Once it is a directory, everything that was put is written."""
    directory = tmp_path / "state"
    directory.write_text("a file where a directory should be")
    with capture_logs() as logs:
        async with opened(directory, retry=0.01) as records:
            assert await keys(records) == []
            records.put(Kind.ANSWER, "a", b"")
            await records.committed()
            assert (records.stats.pending, records.stats.is_failing) == (1, True)
            directory.unlink()
            await until(lambda: records.stats, lambda stats: stats == RecordStats())
            assert await keys(records) == ["a"]
    events = [entry["event"] for entry in logs]
    assert events == ["records_not_kept", "records_not_read", "records_kept_again"]


async def test_another_process_that_holds_the_records_file_delays_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is frozen in the middle of a write, for example."""
    monkeypatch.setattr(sqlite_opening, "BUSY_TIMEOUT", 0.05)
    async with opened(tmp_path, retry=0.01) as records:
        with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            records.put(Kind.ANSWER, "a", b"")
            await records.committed()
            assert records.stats.is_failing
            assert await keys(records) == [], "it can be read"
        await until(lambda: records.stats, lambda stats: stats == RecordStats())
        assert await keys(records) == ["a"]


class GatedFile(SqliteFile):
    """Waits before its first write."""

    gate: threading.Event
    writes: list[int]

    def write(self, changes: Sequence[RecordChange], now: float, *, sweep: bool) -> None:
        self.writes.append(len(changes))
        if changes:
            assert self.gate.wait(60)
        super().write(changes, now, sweep=sweep)


@pytest.fixture
def gated(monkeypatch: pytest.MonkeyPatch) -> type[GatedFile]:
    class Gated(GatedFile):
        gate, writes = threading.Event(), []

    monkeypatch.setattr(sqlite, "SqliteFile", Gated)
    return Gated


async def test_what_is_put_during_a_write_is_written_together(tmp_path: Path, gated: type[GatedFile]) -> None:
    """And the event loop goes on meanwhile."""
    async with opened(tmp_path) as records, asyncio.TaskGroup() as tasks:
        records.put(Kind.ANSWER, "first", b"")
        await until(lambda: gated.writes, lambda writes: writes == [0, 1])
        for n in range(100):
            records.put(Kind.ANSWER, str(n), b"")
            tasks.create_task(records.committed())
        await asyncio.sleep(0)
        gated.gate.set()
    assert gated.writes == [0, 1, 100]


async def test_a_disk_that_does_not_answer_is_waited_for_once(
    tmp_path: Path, gated: type[GatedFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    with capture_logs() as logs:
        async with opened(tmp_path, retry=0.01) as records:
            monkeypatch.setattr(sqlite, "PATIENCE", 0.05)
            records.put(Kind.ANSWER, "a", b"")
            await asyncio.gather(*(records.committed() for _ in range(10)))
            assert records.stats.is_failing
            records.put(Kind.ANSWER, "b", b"")
            monkeypatch.setattr(sqlite, "PATIENCE", 1e9)
            await records.committed()
            gated.gate.set()
            await until(lambda: records.stats, lambda stats: stats == RecordStats())
            assert await keys(records) == ["a", "b"]
    assert [entry["event"] for entry in logs] == ["records_opened", "records_not_kept", "records_kept_again"]


async def test_a_change_that_can_not_be_written_is_given_up_with_a_log_entry(tmp_path: Path) -> None:
    async with opened(tmp_path) as records:
        with capture_logs() as logs:
            records.put(Kind.ANSWER, "a", [])  # type: ignore[arg-type]
            await records.committed()
        assert [entry["event"] for entry in logs] == ["records_fault"]
        assert records.stats == RecordStats(lost=1)
        records.put(Kind.ANSWER, "b", b"")
        assert await keys(records) == ["b"]


async def test_expired_records_leave_the_file(tmp_path: Path) -> None:
    now = 1_000.0
    records = SqliteRecords(tmp_path, lambda: now)
    await records.start()
    records.put(Kind.ANSWER, "a", b"", now + 1.0)
    records.put(Kind.ANSWER, "b", b"")
    await records.committed()
    now += SWEEP_INTERVAL
    records.put(Kind.ANSWER, "c", b"")
    await records.committed()
    with closing(sqlite3.connect(tmp_path / FILE)) as other:
        assert other.execute("SELECT key FROM record ORDER BY place").fetchall() == [("b",), ("c",)]
    await records.aclose()


def a_change(key: str, value: bytes | None = b"") -> RecordChange:
    return RecordChange(Kind.ANSWER, key, None if value is None else Record(Kind.ANSWER, key, value))


def test_pending_changes_are_bounded_and_the_oldest_are_given_up() -> None:
    pending = PendingChanges(changes_max=3, bytes_max=100)
    for key in "abcd":
        pending.add(a_change(key))
    assert ([change.key for change in pending.take()], pending.lost) == (["b", "c", "d"], 1)
    pending.add(a_change("a", b"x" * 60))
    pending.add(a_change("a", b"x" * 90))
    pending.add(a_change("b", b"x" * 50))
    assert ([change.key for change in pending.take()], pending.lost) == (["b"], 2)


def test_changes_that_are_given_back_come_before_later_ones() -> None:
    pending = PendingChanges()
    for key in "abc":
        pending.add(a_change(key))
    taken = pending.take()
    pending.add(a_change("d"))
    pending.add(a_change("a", b"later"))
    pending.add(a_change("b", None))
    pending.give_back(taken)
    assert pending.take() == [a_change("a", b"later"), a_change("c"), a_change("d"), a_change("b", None)]


def test_a_change_after_a_deletion_is_anew() -> None:
    """Also if the two are taken apart and given back."""
    pending = PendingChanges()
    pending.add(a_change("a", None))
    taken = pending.take()
    pending.add(a_change("a", b"1"))
    pending.give_back(taken)
    pending.add(a_change("a", b"2"))
    [change] = pending.take()
    assert (change.record, change.is_anew) == (a_change("a", b"2").record, True)


async def test_a_process_writes_nothing_more_once_a_newer_one_has_taken_over(tmp_path: Path) -> None:
    """Also one that was frozen or cut off meanwhile, and does not know it."""
    async with opened(tmp_path) as older, opened(tmp_path) as newer:
        await older.take_over("1")
        older.put(Kind.ANSWER, "before", b"")
        assert await keys(older) == ["before"]
        await newer.take_over("2")
        newer.put(Kind.ANSWER, "of the newer one", b"")
        older.delete(Kind.ANSWER, "before")
        older.put(Kind.ANSWER, "too late", b"")
        with pytest.raises(NotActing):
            await older.committed()
        with pytest.raises(NotActing):
            await older.committed()
        assert await keys(newer) == ["before", "of the newer one"]


async def test_the_process_that_took_over_last_is_known_to_the_next_one(tmp_path: Path) -> None:
    async with opened(tmp_path) as records:
        assert await records.last_writer() == ""
        await records.take_over("1")
    async with opened(tmp_path) as records:
        assert await records.last_writer() == "1"


async def test_a_process_that_has_no_turn_yet_may_write(tmp_path: Path) -> None:
    """It takes registrations before it acts."""
    async with opened(tmp_path) as older, opened(tmp_path) as newer:
        await older.take_over("1")
        newer.put(Kind.REGISTRATION, "early", b"")
        assert await keys(newer, Kind.REGISTRATION) == ["early"]
        await newer.take_over("2")
        assert await keys(newer, Kind.REGISTRATION) == ["early"]
