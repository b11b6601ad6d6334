"""A process with records in a file, for tests that kill it or take its disk away.

    python -m tests.unit.records.record_process write <directory> <name>
        puts records from several tasks without end, and prints the key of each once it is committed
    python -m tests.unit.records.record_process full-disk | read-only-disk <directory>
        mounts a small disk of its own there; run it in its own mount namespace
    python -m tests.unit.records.record_process size-limit <directory>
    python -m tests.unit.records.record_process hanging-disk <directory>

The last four go through the fault and end with 0 if all of their assertions hold.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import structlog
from structlog.testing import capture_logs

from manager_agent.records import sqlite
from manager_agent.records.records import Kind
from manager_agent.records.sqlite import SqliteRecords
from manager_agent.records.sqlite_file import SqliteFile
from tests.unit.waits import until

WRITERS = 8
MIB = 1024 * 1024


async def write(directory: str, name: str) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    records = SqliteRecords(Path(directory), time.time)
    await records.start()
    numbers = count()

    async def writer() -> None:
        while True:
            key = f"{name}-{next(numbers)}"
            records.put(Kind.ANSWER, key, key.encode() * 100)
            if int(key.rpartition("-")[2]) % 3 == 0:
                records.put(Kind.DELIVERY, key, b"")
                records.delete(Kind.DELIVERY, key)
            await records.committed()
            print(key, flush=True)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(WRITERS):
            tasks.create_task(writer())


async def full_disk(directory: str) -> None:
    mount("-t", "tmpfs", "-o", "size=2m", "tmpfs", directory)
    filler = Path(directory) / "filler"

    def fill() -> None:
        with filler.open("wb", buffering=0) as file:
            for size in (64 * 1024, 1024):
                try:
                    while file.write(b"x" * size) == size:
                        pass
                except OSError:
                    continue

    await refused_and_taken_again(Path(directory), fill, filler.unlink)


async def size_limit(directory: str) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int) -> Callable[[], None]:
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    await refused_and_taken_again(Path(directory), limit(40_000), limit(hard))


async def refused_and_taken_again(directory: Path, refuse: Callable[[], None], allow: Callable[[], None]) -> None:
    """Records of before, during and after a time in which the disk takes nothing more."""
    big = b"v" * 200_000
    with capture_logs() as logs:
        records = SqliteRecords(directory, time.time, retry=0.05)
        await records.start()
        records.put(Kind.ANSWER, "before", b"1")
        await records.committed()
        refuse()
        for n in range(3):
            records.put(Kind.ANSWER, f"during-{n}", big)
            await records.committed()
            assert records.stats.is_failing
        assert records.stats.pending == 3
        assert [record.key for record in await records.load(Kind.ANSWER)] == ["before"]
        second = SqliteRecords(directory, time.time, retry=0.05)
        await second.start()
        assert [record.key for record in await second.load(Kind.ANSWER)] == ["before"], "started on the full disk"
        await second.aclose()
        allow()
        await until(lambda: records.stats, lambda stats: not stats.is_failing and not stats.pending)
        records.put(Kind.ANSWER, "after", b"1")
        await records.committed()
        found = await records.load(Kind.ANSWER)
        await records.aclose()
    assert [record.key for record in found] == ["before", "during-0", "during-1", "during-2", "after"]
    assert found[1].value == big
    said = [entry["event"] for entry in logs if entry["event"] != "records_opened"]
    assert [event for event in said if event == "records_kept_again"] == ["records_kept_again"], said
    assert 1 <= said.count("records_not_kept") <= 2, "once, and perhaps once by the second"


async def read_only_disk(directory: str) -> None:
    mount("-t", "tmpfs", "-o", "size=2m", "tmpfs", directory)
    records = SqliteRecords(Path(directory), time.time)
    await records.start()
    records.put(Kind.REGISTRATION, "before", b"1")
    await records.aclose()
    mount("-o", "remount,ro", directory)
    with capture_logs() as logs:
        records = SqliteRecords(Path(directory), time.time, retry=0.05)
        await records.start()
        assert [record.key for record in await records.load(Kind.REGISTRATION)] == ["before"]
        records.put(Kind.REGISTRATION, "during", b"1")
        await records.committed()
        assert records.stats.is_failing
        mount("-o", "remount,rw", directory)
        await until(lambda: records.stats, lambda stats: not stats.is_failing and not stats.pending)
        assert [record.key for record in await records.load(Kind.REGISTRATION)] == ["before", "during"]
        await records.aclose()
    assert [entry["event"] for entry in logs] == ["records_not_kept", "records_kept_again"]


async def hanging_disk(directory: str) -> None:
    """From the start on. The process starts, goes on and ends."""
    sqlite.PATIENCE = 0.2
    with capture_logs() as logs, patch.object(SqliteFile, "_open", lambda _: threading.Event().wait()):
        records = SqliteRecords(Path(directory), time.time)
        await records.start()
        assert await records.load(Kind.REGISTRATION) == ()
        records.put(Kind.ANSWER, "a", b"")
        await records.committed()
        assert (records.stats.pending, records.stats.is_failing) == (1, True)
        await records.aclose()
    assert [entry["event"] for entry in logs] == ["records_not_kept", "records_not_read", "records_not_written"]


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


MODES: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
    "write": write,
    "full-disk": full_disk,
    "size-limit": size_limit,
    "read-only-disk": read_only_disk,
    "hanging-disk": hanging_disk,
}

if __name__ == "__main__":
    asyncio.run(MODES[sys.argv[1]](*sys.argv[2:]))
