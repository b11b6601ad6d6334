"""Heartbeats that any replica gets, over a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
from structlog.testing import capture_logs

from manager_agent.registry import shared_heartbeats
from manager_agent.registry.instances import Instance, InstanceState
from manager_agent.registry.persistence import RegistrationKeeper
from manager_agent.registry.registry import Registry
from manager_agent.registry.service_index import ServiceIndex
from manager_agent.registry.shared_heartbeats import SharedHeartbeats
from manager_agent.session.counts import SessionCounts
from tests.redis_server import RedisServer
from tests.unit.redis_replicas import RedisReplica
from tests.unit.registries import RegistryScenario, asr, asrs
from tests.unit.waits import until

pytestmark = pytest.mark.unit

INTERVAL = 0.02


@dataclass
class RegistryReplica:
    redis: RedisReplica
    scenario: RegistryScenario
    keeper: RegistrationKeeper
    heartbeats: SharedHeartbeats

    @classmethod
    def of(cls, server: RedisServer, replica_id: str) -> RegistryReplica:
        scenario = RegistryScenario()
        redis = RedisReplica.of(server, replica_id, lambda: scenario.now)
        keeper = RegistrationKeeper(scenario.registry, redis.records, lambda: scenario.now)
        heartbeats = SharedHeartbeats(
            scenario.registry, redis.connection, redis.changelog, replica_id, interval=INTERVAL
        )
        return cls(redis, scenario, keeper, heartbeats)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self.redis.running():
            await self.keeper.start()
            await self.heartbeats.start()
            try:
                yield
            finally:
                await self.heartbeats.aclose()

    @property
    def registry(self) -> Registry:
        return self.scenario.registry

    @property
    def loads(self) -> list[float | None]:
        return [instance.load for instance in self.registry.instances]

    async def up_to_date(self) -> None:
        await self.redis.changelog.caught_up()


@asynccontextmanager
async def two_replicas(server: RedisServer) -> AsyncIterator[tuple[RegistryReplica, RegistryReplica]]:
    replicas = RegistryReplica.of(server, "a"), RegistryReplica.of(server, "b")
    async with AsyncExitStack() as stack:
        for replica in replicas:
            await stack.enter_async_context(replica.running())
        yield replicas


async def test_a_service_is_known_to_all_replicas_once_its_registration_is_committed(redis_server: RedisServer) -> None:
    async with two_replicas(redis_server) as (a, b):
        a.registry.register(asr())
        await a.redis.records.committed()
        await b.up_to_date()
        assert b.registry.list() == [asr()]
        b.registry.heartbeat("asr-1", draining=True)
        await b.redis.records.committed()
        await a.up_to_date()
        assert a.scenario.state("asr-1") is InstanceState.DRAINING
        b.registry.remove("asr-1")
        await b.redis.records.committed()
        await a.up_to_date()
        assert a.registry.list() == []
        third = RegistryReplica.of(redis_server, "c")
        async with third.running():
            assert third.registry.list() == []


async def test_a_heartbeat_renews_the_lease_at_all_replicas_and_shows_the_load(redis_server: RedisServer) -> None:
    async with two_replicas(redis_server) as (a, b):
        a.registry.register(asr(lease_seconds=10))
        await a.redis.records.committed()
        await b.up_to_date()
        for replica in (a, b):
            replica.scenario.pass_time(14)
        b.scenario.refs["asr-1"] = 3
        b.registry.heartbeat("asr-1", load=0.5)
        await until(lambda: a.loads, lambda loads: loads == [0.5])
        (instance,) = a.registry.instances
        assert instance.in_flight_at_report == 3
        a.scenario.pass_time(14)
        assert a.scenario.state("asr-1") is InstanceState.HEALTHY


async def test_many_heartbeats_are_one_entry(redis_server: RedisServer) -> None:
    async with two_replicas(redis_server) as (a, b):
        for number in range(50):
            a.registry.register(asr(f"asr-{number}", lease_seconds=10))
        await a.redis.records.committed()
        await b.up_to_date()
        before = await a.redis.connection.call("XLEN", a.redis.connection.keys.changes)
        for _ in range(3):
            for number in range(50):
                a.registry.heartbeat(f"asr-{number}", load=0.25)
        await until(lambda: b.loads, lambda loads: loads == [0.25] * 50)
        assert await a.redis.connection.call("XLEN", a.redis.connection.keys.changes) == before + 1


async def test_heartbeats_that_came_while_redis_was_away_are_told_once_it_is_back(
    own_redis_server: RedisServer,
) -> None:
    """And a registration that it lost is put back."""
    async with two_replicas(own_redis_server) as (a, b):
        a.registry.register(asr(lease_seconds=10))
        await a.redis.records.committed()
        await b.up_to_date()
        own_redis_server.stop()
        a.registry.heartbeat("asr-1", load=0.5)
        await until(lambda: a.redis.connection.is_away)
        own_redis_server.start()
        await until(lambda: b.loads, lambda loads: loads == [0.5])
        third = RegistryReplica.of(own_redis_server, "c")
        async with third.running():
            await until(lambda: third.registry.list(), lambda services: services == [asr(lease_seconds=10)])


async def test_heartbeats_that_an_error_kept_from_being_told_are_told_later(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_replicas(redis_server) as (a, b):
        a.registry.register(asr(lease_seconds=10))
        await a.redis.records.committed()
        await b.up_to_date()
        with monkeypatch.context() as patched, capture_logs() as logs:
            patched.setattr(shared_heartbeats, "CONTENT", None)
            a.registry.heartbeat("asr-1", load=0.5)
            await until(lambda: [one["event"] for one in logs], lambda events: "heartbeats_fault" in events)
        a.registry.heartbeat("asr-1")
        await until(lambda: b.loads, lambda loads: loads == [0.5])


@pytest.mark.parametrize("content", [b"", b"[", b"{}", b'[["asr-1",2,0]]', b'[["asr-1",0.5,-1]]', b'[["asr-1"]]'])
async def test_heartbeats_that_can_not_be_read_and_those_of_unknown_services_change_nothing(
    redis_server: RedisServer, content: bytes
) -> None:
    async with two_replicas(redis_server) as (a, b):
        a.registry.register(asr())
        await a.redis.records.committed()
        connection = a.redis.connection
        for told in (content, b'[["unknown",0.5,0]]'):
            entry = ("k", "heartbeats", "replica", "c", "content", told)
            await connection.call("XADD", connection.keys.changes, "*", *entry)
        await b.up_to_date()
        assert b.loads == [None]


def test_leases_stand_still_while_heartbeats_of_other_replicas_may_be_missed() -> None:
    """Also if leases were checked seldom meanwhile."""
    now, hears = [1_000.0], [True]
    registry = Registry(lambda: now[0], SessionCounts(), hears_all=lambda: hears[0])
    registry.register(asr(lease_seconds=10))

    def after(seconds: float, steps: int) -> InstanceState:
        for _ in range(steps):
            now[0] += seconds / steps
            registry.refresh()
        return registry.status("asr-1").state

    assert after(10, 10) is InstanceState.HEALTHY
    hears[0] = False
    assert after(1_000, 1_000) is InstanceState.HEALTHY
    assert after(1_000, 10) is InstanceState.HEALTHY
    hears[0] = True
    assert after(4, 4) is InstanceState.HEALTHY
    assert after(1, 1) is InstanceState.EXPIRED
    hears[0] = False
    assert after(10, 10) is InstanceState.EXPIRED, "it stays over"


def test_a_lease_renewed_while_leases_stand_still_is_as_long_as_the_others() -> None:
    """It starts when heartbeats arrive again."""
    now, hears = [1_000.0], [True]
    registry = Registry(lambda: now[0], SessionCounts(), hears_all=lambda: hears[0])

    def pass_time(seconds: int) -> None:
        for _ in range(seconds):
            now[0] += 1
            registry.refresh()

    others = [asr(f"other-{number}", type="LLM", lease_seconds=1_000) for number in range(9)]  # most are not late
    for one in (*asrs(3, lease_seconds=10), *others):
        registry.register(one)
    pass_time(5)
    hears[0] = False
    pass_time(100)
    registry.heartbeat("asr-1")
    pass_time(3)
    registry.register(asr("asr-4", lease_seconds=10))
    pass_time(7)
    registry.heartbeat("asr-2")
    hears[0] = True
    for passed, healthy in ((9, "1234"), (1, "124"), (4, "124"), (1, "")):
        pass_time(passed)
        states = {f"asr-{number}": registry.status(f"asr-{number}").state for number in range(1, 5)}
        assert "".join(name[-1] for name, state in states.items() if state is InstanceState.HEALTHY) == healthy


def test_leases_that_stand_still_are_moved_on_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of services send heartbeats meanwhile, and each one is followed by a look at the leases."""
    now, puts = [1_000.0], 0
    registry = Registry(lambda: now[0], SessionCounts(), hears_all=lambda: False)
    for one in asrs(50, lease_seconds=60):
        registry.register(one)
    before = ServiceIndex.put

    def put(index: ServiceIndex, instance: Instance) -> None:
        nonlocal puts
        puts += 1
        before(index, instance)

    monkeypatch.setattr(ServiceIndex, "put", put)
    for second in range(300):
        now[0] += 1
        registry.heartbeat(f"asr-{second % 50 + 1}")
    assert puts <= 300 + 50 * 300 / 30
