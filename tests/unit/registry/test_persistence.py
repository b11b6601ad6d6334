"""Registrations on disk: kept soon, read at the start, damaged files set aside, and no disk is no reason to stop."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from manager_agent.registry import snapshot
from manager_agent.registry.instances import Instance
from manager_agent.registry.lease_sweeper import LeaseSweeper
from manager_agent.registry.persistence import SnapshotWriter
from manager_agent.registry.registry import Registry
from manager_agent.registry.selection import Selection
from manager_agent.registry.services import RegisteredService
from manager_agent.session.session import ReadyOn
from tests.unit.registries import asr

pytestmark = pytest.mark.unit

FULL = RegisteredService(
    "llm-1",
    "LLM",
    None,
    agent_name="llm",
    ready_on=ReadyOn.SIGNAL,
    labels={"language": "中文"},
    metadata={"type": "LLM", "nested": {"list": [1, 2.5, None, True]}},
    registered_at=1_766_400_000.123,
    capacity=40,
    lease_seconds=15.0,
    owner="acme",
)


def a_registry(*services: RegisteredService) -> Registry:
    registry = Registry(lambda: 1_000.0, lambda _service_id: 0)
    for service in services:
        registry.register(service)
    return registry


@asynccontextmanager
async def kept(registry: Registry, directory: Path, **more: Any) -> AsyncIterator[None]:
    keeper = SnapshotWriter(registry, directory, **more)
    await keeper.start()
    try:
        yield
    finally:
        await keeper.aclose()


def on_disk(directory: Path) -> list[str]:
    return [kept["service"]["service_id"] for kept in json.loads((directory / snapshot.FILE).read_bytes())["services"]]


async def until_on_disk(directory: Path, *service_ids: str) -> None:
    async with asyncio.timeout(5):
        while on_disk(directory) != list(service_ids):
            await asyncio.sleep(0.01)


def test_what_is_written_is_read_again_without_what_is_static(tmp_path: Path) -> None:
    """And without what is only of the moment, such as load and lease."""
    instances = [Instance(FULL, draining=True, load=0.5), Instance(asr()), Instance(asr("static", static=True))]
    snapshot.write(tmp_path / "made" / "anew", snapshot.snapshot(instances))
    assert snapshot.read(tmp_path / "made" / "anew") == [Instance(FULL, draining=True), Instance(asr())]


def test_a_file_from_before_services_had_owners_is_read(tmp_path: Path) -> None:
    kept = json.loads(snapshot.snapshot([Instance(FULL)]))
    del kept["services"][0]["service"]["owner"]
    snapshot.write(tmp_path, json.dumps(kept).encode())
    assert snapshot.read(tmp_path) == [Instance(replace(FULL, owner=""))]


def test_the_file_is_for_us_alone_and_nothing_else_is_left_beside_it(tmp_path: Path) -> None:
    for _ in range(2):
        snapshot.write(tmp_path, b"{}")
    assert stat.S_IMODE((tmp_path / snapshot.FILE).stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == [snapshot.FILE]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    """As does a process that is killed while it writes: the next one overwrites what it left."""
    snapshot.write(tmp_path, snapshot.snapshot([Instance(FULL)]))
    (tmp_path / f"{snapshot.FILE}.new").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        snapshot.write(tmp_path, snapshot.snapshot([]))
    assert snapshot.read(tmp_path) == [Instance(FULL)]
    (tmp_path / f"{snapshot.FILE}.new").rmdir()
    (tmp_path / f"{snapshot.FILE}.new").write_bytes(b'{"version": 1, "serv')
    snapshot.write(tmp_path, snapshot.snapshot([]))
    assert snapshot.read(tmp_path) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"\x00" * 4_096,
        b'{"version": 2, "services": []}',
        b'{"version": 1, "services": [{"service": {"service_id": 7}}]}',
        b'{"version": 1, "services": {}}',
        snapshot.snapshot([Instance(FULL)])[:-20],
    ],
)
async def test_a_damaged_file_is_set_aside_and_the_start_goes_on(tmp_path: Path, content: bytes) -> None:
    """With a message that says where it is now; nothing of it is lost."""
    (tmp_path / snapshot.FILE).write_bytes(content)
    registry = a_registry()
    with capture_logs() as logs:
        async with kept(registry, tmp_path):
            registry.register(asr())
            await until_on_disk(tmp_path, "asr-1")
    [said] = [entry for entry in logs if entry["event"] == "registrations_damaged"]
    assert Path(said["set_aside"]).name.startswith("services.json.damaged-2")
    assert Path(said["set_aside"]).read_bytes() == content


def changed(instance: Instance, **fields: Any) -> dict[str, Any]:
    """A kept registration with other fields."""
    kept: dict[str, Any] = json.loads(snapshot.snapshot([instance]))["services"][0]
    return {**kept, "service": kept["service"] | fields}


@pytest.mark.parametrize(
    "fields",
    [
        {"service_id": ""},
        {"endpoint": None, "agent_name": None},
        {"capacity": -1},
        {"lease_seconds": 0},
        {"registered_at": 1e99},
    ],
)
async def test_a_registration_that_makes_no_sense_takes_no_other_with_it(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    content = {"version": 1, "services": [changed(Instance(asr()), **fields), changed(Instance(FULL))]}
    (tmp_path / snapshot.FILE).write_text(json.dumps(content))
    registry = a_registry()
    async with kept(registry, tmp_path):
        assert registry.list() == [FULL]
    [aside] = tmp_path.glob("*.damaged-*")
    assert json.loads(aside.read_text()) == content


def test_what_a_later_version_has_written_besides_is_passed_over(tmp_path: Path) -> None:
    content = {"version": 1, "services": [changed(Instance(FULL), colour="blue")], "more": 1}
    (tmp_path / snapshot.FILE).write_text(json.dumps(content))
    assert snapshot.read(tmp_path) == [Instance(FULL)]


async def test_a_file_that_could_not_be_read_is_not_replaced(tmp_path: Path) -> None:
    """Nothing is written in its place, but as soon as it can be read all is taken in and kept."""
    path = tmp_path / snapshot.FILE
    path.mkdir()
    registry = a_registry(asr())
    async with kept(registry, tmp_path, retry=0.01):
        await asyncio.sleep(0.05)
        assert path.is_dir()
        path.rmdir()
        snapshot.write(tmp_path, snapshot.snapshot([Instance(FULL)]))
        await until_on_disk(tmp_path, "asr-1", FULL.service_id)
    assert registry.list() == [asr(), FULL]


async def test_a_start_that_is_given_up_replaces_nothing(tmp_path: Path) -> None:
    snapshot.write(tmp_path, snapshot.snapshot([Instance(FULL)]))
    keeper = SnapshotWriter(a_registry(), tmp_path)
    starting = asyncio.create_task(keeper.start())
    await asyncio.sleep(0)
    starting.cancel()
    await asyncio.wait([starting])
    await keeper.aclose()
    assert on_disk(tmp_path) == [FULL.service_id]


async def test_the_next_process_knows_who_was_registered(tmp_path: Path) -> None:
    async with kept(a_registry(FULL, asr()), tmp_path):
        pass
    registry = a_registry()
    async with kept(registry, tmp_path):
        assert registry.list() == [asr(), FULL]


async def test_changes_are_on_disk_soon_and_a_burst_is_written_together(tmp_path: Path) -> None:
    """The first at once, the rest in one go; a heartbeat is nothing to write down."""
    written: list[bytes] = []
    registry = a_registry()
    async with kept(registry, tmp_path, write=lambda _directory, content: written.append(content)):
        for n in range(100):
            registry.register(asr(f"asr-{n}"))
            await asyncio.sleep(0.001)
        async with asyncio.timeout(5):
            while len(written) < 3:
                await asyncio.sleep(0.01)
        registry.heartbeat("asr-1", load=0.5)
        registry.register(asr("asr-1"))
        await asyncio.sleep(0.6)
    assert len(written) == 3, "nothing was there, the first came, all had come"


async def test_what_changes_last_is_on_disk_when_the_process_ends(tmp_path: Path) -> None:
    registry = a_registry()
    async with kept(registry, tmp_path):
        for n in range(3):
            registry.register(asr(f"asr-{n}"))
            await asyncio.sleep(0.01)
        registry.remove("asr-1")
    assert on_disk(tmp_path) == ["asr-0", "asr-2"]


async def test_where_nothing_can_be_written_it_is_said_once_and_tried_again(tmp_path: Path) -> None:
    """And nobody is kept from registering."""
    directory = tmp_path / "state"
    directory.write_text("a file where a directory should be")
    registry = a_registry()
    with capture_logs() as logs:
        async with kept(registry, directory, retry=0.01):
            registry.register(asr())
            await asyncio.sleep(0.1)
            directory.unlink()
            async with asyncio.timeout(5):
                while not (directory / snapshot.FILE).exists():
                    await asyncio.sleep(0.01)
    assert registry.list() == [asr()]
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["registrations_not_read"]


class Faulty(Registry):
    """Its second look goes wrong."""

    looks = 0

    def look(self) -> Selection:
        self.looks += 1
        if self.looks == 2:
            raise RuntimeError("as the test wants it")
        return super().look()


async def test_somebody_looks_at_the_leases_though_nothing_happens() -> None:
    """Also after a look that went wrong."""
    registry = Faulty(lambda: 1_000.0, lambda _service_id: 0)
    reaper = LeaseSweeper(registry, interval=0.01)
    await reaper.start()
    async with asyncio.timeout(5):
        while registry.looks < 4:
            await asyncio.sleep(0.01)
    await reaper.aclose()
