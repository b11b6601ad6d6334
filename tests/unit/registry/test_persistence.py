"""Registrations in the records: kept at every change, restored at the start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from manager_agent.json_object import JsonObject
from manager_agent.records.memory import MemoryRecords
from manager_agent.records.records import Kind, Record, Records
from manager_agent.records.sqlite import SqliteRecords
from manager_agent.registry.instances import Instance, InstanceState
from manager_agent.registry.lease_sweeper import CHECK_INTERVAL, LeaseSweeper
from manager_agent.registry.leases import EXPIRED_KEPT
from manager_agent.registry.persistence import RegistrationKeeper
from manager_agent.registry.registry import Registry
from manager_agent.registry.saved_registrations import VALUES, SavedRegistration
from manager_agent.registry.selection import Selection
from manager_agent.registry.services import RegisteredService
from manager_agent.session.counts import SessionCounts
from manager_agent.session.events import ReadyOn
from tests.unit.registries import RegistryScenario, asr
from tests.unit.virtual_time import in_virtual_time, let_pass

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
    return RegistryScenario(*services).registry


@pytest.fixture
def records() -> Records:
    return MemoryRecords(lambda: 1_000.0)


async def keeping(registry: Registry, records: Records) -> Registry:
    """The registry, with its registrations restored from these records and kept in them."""
    await RegistrationKeeper(registry, records).start()
    return registry


async def restored(records: Records) -> list[Instance]:
    """What the next process restores, without its lease."""
    registry = await keeping(a_registry(), records)
    return [Instance(one.service, draining=one.draining) for one in registry.instances]


async def test_every_part_of_a_registration_is_restored(tmp_path: Path) -> None:
    """From the file; load and lease, which are of the moment, are not kept."""
    records = SqliteRecords(tmp_path, lambda: 1_000.0)
    await records.start()
    registry = await keeping(a_registry(), records)
    registry.register(FULL)
    registry.register(asr())
    registry.heartbeat(FULL.service_id, load=0.5, draining=True)
    await records.aclose()
    records = SqliteRecords(tmp_path, lambda: 1_000.0)
    await records.start()
    assert await restored(records) == [Instance(FULL, draining=True), Instance(asr())]
    await records.aclose()


async def test_registrations_are_kept_at_every_change_and_heartbeats_are_not(records: Records) -> None:
    scenario = RegistryScenario()
    registry = await keeping(scenario.registry, records)
    registry.register(asr(lease_seconds=10))
    assert await restored(records) == [Instance(asr(lease_seconds=10))]
    registry.register(asr(lease_seconds=20))
    assert await restored(records) == [Instance(asr(lease_seconds=20))]
    kept = await records.load(Kind.REGISTRATION)
    registry.heartbeat("asr-1", load=0.1)
    assert await records.load(Kind.REGISTRATION) == kept
    registry.heartbeat("asr-1", draining=True)
    assert await restored(records) == [Instance(asr(lease_seconds=20), draining=True)]
    registry.remove("asr-1")
    assert await restored(records) == []


async def test_services_that_are_reaped_or_retired_are_kept_no_more(records: Records) -> None:
    scenario = RegistryScenario()
    registry = await keeping(scenario.registry, records)
    registry.register(asr("asr-1", lease_seconds=10))
    registry.register(asr("asr-2"))
    scenario.pass_time(20)
    assert scenario.state("asr-1") is InstanceState.EXPIRED
    assert len(await restored(records)) == 2, "a heartbeat may revive it"
    scenario.pass_time(EXPIRED_KEPT)
    assert await restored(records) == [Instance(asr("asr-2"))]
    registry.retire(asr("asr-2").ref)
    assert await restored(records) == []


async def test_services_whose_heartbeats_went_to_another_process_are_healthy_when_this_one_acts(
    records: Records,
) -> None:
    older = await keeping(a_registry(), records)
    older.register(asr("asr-1", lease_seconds=10))
    scenario = RegistryScenario()
    scenario.may_reap = False
    keeper = RegistrationKeeper(scenario.registry, records)
    await keeper.start()
    scenario.pass_time(15 + 2 * EXPIRED_KEPT)
    assert len(await records.load(Kind.REGISTRATION)) == 1
    scenario.may_reap = True
    await keeper.restore()
    assert scenario.state("asr-1") is InstanceState.HEALTHY


async def test_a_static_service_is_not_kept_and_replaces_the_kept_one(records: Records) -> None:
    (await keeping(a_registry(), records)).register(asr())
    static = asr(endpoint="http://static.example/", static=True)
    registry = await keeping(a_registry(static), records)
    registry.heartbeat("asr-1", draining=True)
    assert registry.list() == [static]
    assert await restored(records) == []


async def test_restoring_again_finds_what_another_process_has_changed_since(records: Records) -> None:
    """Later registrations, those that drain, and those that were removed; what was registered here later stays."""
    older = await keeping(a_registry(), records)
    for number in range(1, 5):
        older.register(asr(f"asr-{number}", registered_at=10.0))
    registry = a_registry()
    keeper = RegistrationKeeper(registry, records)
    await keeper.start()
    registry.register(asr("asr-4", registered_at=30.0))
    older.register(asr("asr-1", registered_at=20.0, lease_seconds=5))
    older.heartbeat("asr-2", draining=True)
    older.remove("asr-3")
    older.register(asr("asr-5", registered_at=20.0))
    await keeper.restore()
    assert [Instance(one.service, draining=one.draining) for one in registry.instances] == [
        Instance(asr("asr-1", registered_at=20.0, lease_seconds=5)),
        Instance(asr("asr-2", registered_at=10.0), draining=True),
        Instance(asr("asr-4", registered_at=30.0)),
        Instance(asr("asr-5", registered_at=20.0)),
    ]


def changed(instance: Instance, **fields: Any) -> bytes:
    """The value of a kept registration with other fields."""
    saved = SavedRegistration(service=instance.service).model_dump(mode="json")
    return b"1." + json.dumps({**saved, "service": saved["service"] | fields}).encode()


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"1.{",
        b"2.{}",
        changed(Instance(asr()), service_id=""),
        changed(Instance(asr()), endpoint=None, agent_name=None),
        changed(Instance(asr()), capacity=-1),
        changed(Instance(asr()), lease_seconds=0),
        changed(Instance(asr()), registered_at=1e99),
    ],
    ids=["empty", "json", "version", "service_id", "endpoint", "capacity", "lease_seconds", "registered_at"],
)
async def test_an_unreadable_registration_does_not_affect_the_others(records: Records, value: bytes) -> None:
    records.put(Kind.REGISTRATION, "asr-1", value)
    records.put(Kind.REGISTRATION, "llm-1", VALUES.write(SavedRegistration(service=FULL)))
    with capture_logs() as logs:
        assert await restored(records) == [Instance(FULL)]
    assert [entry["event"] for entry in logs] == ["records_unreadable", "registrations_restored"]


def test_unknown_fields_of_a_registration_are_ignored() -> None:
    record = Record(Kind.REGISTRATION, "llm-1", changed(Instance(FULL), colour="blue"))
    assert VALUES.read([record]) == {"llm-1": SavedRegistration(service=FULL)}


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
    registry = RegistryWithOneFailingRefresh(lambda: 1_000.0, SessionCounts())
    sweeper = LeaseSweeper(registry)
    with capture_logs() as logs:
        await sweeper.start()
        await let_pass(3.5 * CHECK_INTERVAL)
        await sweeper.aclose()
    assert registry.refreshes == 4
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["lease_sweep_fault"]
