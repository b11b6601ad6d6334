"""Registrations on disk: written soon, read at the start, damaged files set aside. A disk that fails stops nothing.

Where timers matter, time is virtual."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from manager_agent.json_object import JsonObject
from manager_agent.registry import persistence, snapshot
from manager_agent.registry.instances import Instance
from manager_agent.registry.lease_sweeper import CHECK_INTERVAL, LeaseSweeper
from manager_agent.registry.persistence import SAVE_INTERVAL, SAVE_RETRY, SnapshotWriter
from manager_agent.registry.registry import Registry
from manager_agent.registry.selection import Selection
from manager_agent.registry.services import RegisteredService
from manager_agent.session.events import ReadyOn
from tests.unit.registries import asr
from tests.unit.virtual_time import in_virtual_time, let_pass
from tests.unit.waits import until

pytestmark = pytest.mark.unit

FULL = RegisteredService(
    "llm-1",
    "LLM",
    None,
    agent_name="llm",
    ready_on=ReadyOn.SIGNAL,
    labels={"language": "中文"},
    metadata=JsonObject.of({"type": "LLM", "nested": {"list": [1, 2.5, None, True]}}),
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
async def persisted(registry: Registry, directory: Path, **more: Any) -> AsyncIterator[None]:
    writer = SnapshotWriter(registry, directory, **more)
    await writer.start()
    try:
        yield
    finally:
        await writer.aclose()


def on_disk(directory: Path) -> list[str]:
    content = json.loads((directory / snapshot.FILE).read_bytes())
    return [entry["service"]["service_id"] for entry in content["services"]]


def test_a_snapshot_reads_back_every_registration_but_static_ones(tmp_path: Path) -> None:
    """Load and lease, which are of the moment, are not kept."""
    instances = [Instance(FULL, draining=True, load=0.5), Instance(asr()), Instance(asr("static", static=True))]
    snapshot.write(tmp_path / "made" / "anew", snapshot.snapshot(instances))
    assert snapshot.read(tmp_path / "made" / "anew") == [Instance(FULL, draining=True), Instance(asr())]


def test_a_snapshot_from_before_services_had_owners_can_be_read(tmp_path: Path) -> None:
    kept = json.loads(snapshot.snapshot([Instance(FULL)]))
    del kept["services"][0]["service"]["owner"]
    snapshot.write(tmp_path, json.dumps(kept).encode())
    assert snapshot.read(tmp_path) == [Instance(replace(FULL, owner=""))]


def test_the_snapshot_file_has_mode_600_and_no_temporary_file_stays(tmp_path: Path) -> None:
    for _ in range(2):
        snapshot.write(tmp_path, b"{}")
    assert stat.S_IMODE((tmp_path / snapshot.FILE).stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == [snapshot.FILE]


def test_a_failed_write_leaves_the_old_snapshot(tmp_path: Path) -> None:
    """So does a process that is killed while it writes: the next write replaces its temporary file."""
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
    ids=["empty", "no-json", "list", "no-utf8", "zeros", "version", "service-type", "services-type", "cut-off"],
)
async def test_a_damaged_snapshot_is_set_aside_and_the_start_goes_on(tmp_path: Path, content: bytes) -> None:
    """A log entry says where it is now, and its content is unchanged."""
    (tmp_path / snapshot.FILE).write_bytes(content)
    registry = a_registry()
    with capture_logs() as logs:
        async with persisted(registry, tmp_path):
            registry.register(asr())
            await until(lambda: on_disk(tmp_path), lambda ids: ids == ["asr-1"])
    [logged] = [entry for entry in logs if entry["event"] == "registrations_damaged"]
    assert Path(logged["set_aside"]).name.startswith("services.json.damaged-2")
    assert Path(logged["set_aside"]).read_bytes() == content


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
    ids=["service_id", "endpoint", "capacity", "lease_seconds", "registered_at"],
)
async def test_an_invalid_registration_in_a_snapshot_does_not_affect_the_others(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    content = {"version": 1, "services": [changed(Instance(asr()), **fields), changed(Instance(FULL))]}
    (tmp_path / snapshot.FILE).write_text(json.dumps(content))
    registry = a_registry()
    async with persisted(registry, tmp_path):
        assert registry.list() == [FULL]
    [aside] = tmp_path.glob("*.damaged-*")
    assert json.loads(aside.read_text()) == content


def test_unknown_fields_in_a_snapshot_are_ignored(tmp_path: Path) -> None:
    content = {"version": 1, "services": [changed(Instance(FULL), colour="blue")], "more": 1}
    (tmp_path / snapshot.FILE).write_text(json.dumps(content))
    assert snapshot.read(tmp_path) == [Instance(FULL)]


@in_virtual_time
async def test_a_registrations_file_that_can_not_be_read_is_not_replaced(tmp_path: Path) -> None:
    """Once it can be read again, its services are restored and written with the new ones."""
    path = tmp_path / snapshot.FILE
    path.mkdir()
    registry = a_registry(asr())
    async with persisted(registry, tmp_path):
        await let_pass(5 * SAVE_RETRY)
        assert path.is_dir()
        path.rmdir()
        snapshot.write(tmp_path, snapshot.snapshot([Instance(FULL)]))
        await let_pass(SAVE_RETRY)
        assert on_disk(tmp_path) == ["asr-1", FULL.service_id]
    assert registry.list() == [asr(), FULL]


@in_virtual_time
async def test_a_cancelled_start_does_not_replace_the_registrations_file(tmp_path: Path) -> None:
    snapshot.write(tmp_path, snapshot.snapshot([Instance(FULL)]))
    writer = SnapshotWriter(a_registry(), tmp_path)
    starting = asyncio.create_task(writer.start())
    await asyncio.sleep(0)  # one turn: the read is on its way
    assert not starting.done()
    starting.cancel()
    await asyncio.wait([starting])
    await writer.aclose()
    assert on_disk(tmp_path) == [FULL.service_id]


async def test_registrations_survive_a_restart(tmp_path: Path) -> None:
    async with persisted(a_registry(FULL, asr()), tmp_path):
        pass
    registry = a_registry()
    async with persisted(registry, tmp_path):
        assert registry.list() == [asr(), FULL]


@in_virtual_time
async def test_registrations_of_a_burst_are_written_together(tmp_path: Path) -> None:
    """The first at once, the rest in one go. A heartbeat is not written."""
    written: list[bytes] = []
    registry = a_registry()
    async with persisted(registry, tmp_path, write=lambda _directory, content: written.append(content)):
        for n in range(100):
            registry.register(asr(f"asr-{n}"))
            await let_pass(0.001)
        await let_pass(SAVE_INTERVAL)
        assert len(written) == 3
        registry.heartbeat("asr-1", load=0.5)
        registry.register(asr("asr-1"))
        await let_pass(1.2 * SAVE_INTERVAL)
    assert len(written) == 3, "none, the first, all of them"


@in_virtual_time
async def test_the_last_registry_change_is_on_disk_when_the_process_ends(tmp_path: Path) -> None:
    registry = a_registry()
    async with persisted(registry, tmp_path):
        for n in range(3):
            registry.register(asr(f"asr-{n}"))
            await let_pass(0.01)
        registry.remove("asr-1")
    assert on_disk(tmp_path) == ["asr-0", "asr-2"]


@in_virtual_time
async def test_a_disk_that_can_not_be_written_is_logged_once_and_tried_again(tmp_path: Path) -> None:
    """Services can register meanwhile."""
    directory = tmp_path / "state"
    directory.write_text("a file where a directory should be")
    registry = a_registry()
    with capture_logs() as logs:
        async with persisted(registry, directory):
            registry.register(asr())
            await let_pass(10 * SAVE_RETRY)
            directory.unlink()
            await let_pass(SAVE_RETRY)
            assert (directory / snapshot.FILE).exists()
    assert registry.list() == [asr()]
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["registrations_not_read"]


class RegistryWithOneFailingRefresh(Registry):
    """Its second refresh raises."""

    refreshes = 0

    def refresh(self) -> Selection:
        self.refreshes += 1
        if self.refreshes == 2:
            raise RuntimeError("as the test wants it")
        return super().refresh()


@in_virtual_time
async def test_the_lease_sweeper_keeps_checking_also_after_a_check_that_raised() -> None:
    registry = RegistryWithOneFailingRefresh(lambda: 1_000.0, lambda _service_id: 0)
    sweeper = LeaseSweeper(registry)
    with capture_logs() as logs:
        await sweeper.start()
        await let_pass(3.5 * CHECK_INTERVAL)
        await sweeper.aclose()
    assert registry.refreshes == 4
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["reaper_fault"]


async def test_snapshot_is_made_in_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of registrations would keep the event loop busy for long."""
    made_in = set[threading.Thread]()

    def made(instances: Iterable[Instance]) -> bytes:
        made_in.add(threading.current_thread())
        return snapshot.snapshot(instances)

    monkeypatch.setattr(persistence, "snapshot", made)
    async with persisted(a_registry(asr()), tmp_path):
        await until(lambda: bool(made_in))
    assert made_in
    assert threading.main_thread() not in made_in
