"""Records in a file when processes are killed and disks refuse: real processes, real disks."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable
from pathlib import Path

import pytest

from manager_agent.records.records import Kind
from manager_agent.records.sqlite import SqliteRecords
from scripts.repository import ROOT
from tests.processes import finished
from tests.unit.records.record_process import WRITERS
from tests.waiting import waiting_for

pytestmark = pytest.mark.unit

PROCESS = (sys.executable, "-m", "tests.unit.records.record_process")
OWN_MOUNTS = ("unshare", "--map-root-user", "--mount")


async def writer(directory: Path, name: str) -> Process:
    return await asyncio.create_subprocess_exec(
        *PROCESS, "write", str(directory), name, cwd=ROOT, stdin=DEVNULL, stdout=PIPE
    )


async def committed_keys(process: Process, wanted: Callable[[list[str]], bool]) -> list[str]:
    """Kill the process once it has said enough. Returns all that it said."""
    assert process.stdout is not None
    said: list[str] = []
    try:
        async with waiting_for("a process to commit records", lambda: said):
            while not wanted(said):
                line = await process.stdout.readline()
                assert line, "the process ended by itself"
                said.append(line.decode().strip())
    finally:
        process.kill()
    rest = (await process.stdout.read()).decode()
    await process.wait()
    return [*said, *(line for line in rest.split("\n")[:-1])]


async def found(directory: Path, kind: Kind = Kind.ANSWER) -> dict[str, bytes]:
    records = SqliteRecords(directory, time.time)
    await records.start()
    try:
        return {record.key: record.value for record in await records.load(kind)}
    finally:
        await records.aclose()


@pytest.mark.parametrize("seed", range(6))
async def test_everything_committed_is_there_after_the_process_is_killed(tmp_path: Path, seed: int) -> None:
    """At moments spread by the seed, in the middle of further writes; twice for the same file."""
    chance = random.Random(seed)
    said: list[str] = []
    for nth in range(2):
        enough = chance.randint(1, 300)
        process = await writer(tmp_path, f"p{nth}")
        said += await committed_keys(process, lambda seen: len(seen) >= enough)  # noqa: B023
    kept = await found(tmp_path)
    assert [key for key in said if kept.get(key) != key.encode() * 100] == []
    assert len(kept) - len(said) <= 2 * WRITERS, "no more than what was under way"
    assert await found(tmp_path, Kind.DELIVERY) == {}


async def test_two_processes_write_to_one_file(tmp_path: Path) -> None:
    """As during a rolling update. Each sees what the other has committed."""
    processes = [await writer(tmp_path, name) for name in ("old", "new")]
    said = await asyncio.gather(*(committed_keys(one, lambda seen: len(seen) >= 300) for one in processes))
    kept = await found(tmp_path)
    assert [key for keys in said for key in keys if key not in kept] == []


async def run_to_its_end(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT)
    output, _ = await finished(process, "the process with the fault")
    assert process.returncode == 0, output.decode()


@pytest.mark.parametrize("fault", ["full-disk", "read-only-disk"])
async def test_records_survive_a_disk_that_refuses_and_reach_it_later(tmp_path: Path, fault: str) -> None:
    """record_process.py has the assertions."""
    if subprocess.run([*OWN_MOUNTS, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not permit mount namespaces")
    await run_to_its_end(*OWN_MOUNTS, *PROCESS, fault, str(tmp_path))


async def test_records_survive_a_limit_on_the_size_of_files_and_reach_the_disk_later(tmp_path: Path) -> None:
    """The same without a disk of its own: runs everywhere."""
    await run_to_its_end(*PROCESS, "size-limit", str(tmp_path))


async def test_a_disk_that_never_answers_keeps_no_process_from_its_start_and_its_end(tmp_path: Path) -> None:
    await run_to_its_end(*PROCESS, "hanging-disk", str(tmp_path))
