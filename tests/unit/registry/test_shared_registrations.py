"""Registrations of several replicas: all know the same services, whatever comes late or is lost."""

from __future__ import annotations

import random
from itertools import permutations

import pytest

from manager_agent.registry.instances import Instance, InstanceState
from manager_agent.registry.leases import EXPIRED_KEPT
from manager_agent.registry.persistence import RegistrationKeeper
from manager_agent.registry.services import RegisteredService, UnknownService
from manager_agent.registry.shared_registrations import REMOVAL_KEPT
from tests.unit.registries import RegistryScenario, asr
from tests.unit.shared_records import SharedPlace

pytestmark = pytest.mark.unit


class Replicas:
    """Replicas with their registries, on shared records. `ahead`: of the clock of each."""

    def __init__(self, *ahead: float, static: tuple[RegisteredService, ...] = ()) -> None:
        self.now = 1_000.0
        self.place = SharedPlace(lambda: self.now)
        self.static = static
        self.scenarios: list[RegistryScenario] = []
        self.keepers: list[RegistrationKeeper] = []
        self.ahead = ahead

    async def start(self) -> Replicas:
        for ahead in self.ahead:
            await self.add(ahead)
        return self

    async def add(self, ahead: float = 0.0) -> RegistryScenario:
        scenario = RegistryScenario(*self.static)
        scenario.now = self.now + ahead
        keeper = RegistrationKeeper(scenario.registry, self.place.replica(), lambda: scenario.now)
        await keeper.start()
        self.scenarios.append(scenario)
        self.keepers.append(keeper)
        return scenario

    def register(self, at: int, service_id: str = "asr-1", **more: object) -> None:
        scenario = self.scenarios[at]
        scenario.registry.register(asr(service_id, registered_at=scenario.now, **more))

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for scenario in self.scenarios:
            scenario.now += seconds

    def known(self) -> list[list[Instance]]:
        """What each replica knows, in the order of the ids."""
        return [
            sorted(
                (Instance(one.service, draining=one.draining) for one in scenario.registry.instances),
                key=lambda one: one.service.service_id,
            )
            for scenario in self.scenarios
        ]

    def agreed(self) -> list[Instance]:
        """What they all know once they have heard everything."""
        self.place.tell_all()
        first, *others = self.known()
        assert all(other == first for other in others)
        return first


async def test_a_service_is_registered_drains_and_is_removed_at_all_replicas() -> None:
    replicas = await Replicas(0, 0, 0).start()
    replicas.register(0, lease_seconds=10)
    [known] = replicas.agreed()
    assert known.service.lease_seconds == 10
    replicas.scenarios[1].registry.heartbeat("asr-1", draining=True)
    assert [one.draining for one in replicas.agreed()] == [True]
    replicas.scenarios[2].registry.heartbeat("asr-1", draining=False)
    assert [one.draining for one in replicas.agreed()] == [False]
    replicas.register(2, capacity=5)
    assert [one.service.capacity for one in replicas.agreed()] == [5]
    replicas.scenarios[0].registry.remove("asr-1")
    assert replicas.agreed() == []


@pytest.mark.parametrize("ahead", [(0, -5), (0, 5)])
async def test_the_later_registration_counts_whatever_the_clocks_say(ahead: tuple[float, float]) -> None:
    """As long as the second replica has heard of the first registration."""
    replicas = await Replicas(*ahead).start()
    replicas.register(0, capacity=1)
    replicas.place.tell_all()
    replicas.register(1, capacity=2)
    assert [one.service.capacity for one in replicas.agreed()] == [2]
    replicas.scenarios[0].registry.remove("asr-1")
    replicas.place.tell_all()
    replicas.register(1, capacity=3)
    assert [one.service.capacity for one in replicas.agreed()] == [3]


async def test_replicas_agree_on_registrations_made_at_the_same_time() -> None:
    replicas = await Replicas(0, 0, 0).start()
    for at in range(3):
        replicas.register(at, capacity=at + 1)
    assert len(replicas.agreed()) == 1
    replicas.scenarios[0].registry.remove("asr-1")
    replicas.scenarios[1].registry.heartbeat("asr-1", draining=True)
    assert replicas.agreed() == [], "a removal counts more than a change of what is removed"


@pytest.mark.parametrize("seed", range(20))
async def test_replicas_agree_after_any_changes_in_any_order(seed: int) -> None:
    chance = random.Random(seed)
    replicas = await Replicas(0.0, 3.0, -3.0).start()
    for _ in range(60):
        at, service_id = chance.randrange(3), f"asr-{chance.randrange(3)}"
        registry = replicas.scenarios[at].registry
        replicas.pass_time(chance.choice([0.0, 0.1, 1.0]))
        if chance.random() < 0.4:
            replicas.place.tell_all()
        try:
            match chance.randrange(4):
                case 0 | 1:
                    replicas.register(at, service_id, capacity=chance.randrange(1, 100))
                case 2:
                    registry.heartbeat(service_id, draining=chance.random() < 0.5)
                case 3:
                    registry.remove(service_id)
        except UnknownService:
            continue
        if chance.random() < 0.1:
            replicas.place.lose_all()
            for one in replicas.place.replicas:
                await one.read_anew(are_lost=True)
    agreed = replicas.agreed()
    fresh = await replicas.add()
    assert replicas.known()[-1] == agreed, "what a new replica reads"
    assert fresh.registry is replicas.scenarios[-1].registry


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_lost_registrations_are_put_back_and_removed_ones_are_not(order: tuple[int, int, int]) -> None:
    """Whichever replica reads first; one of them has not heard of the removal."""
    replicas = await Replicas(0, 0, 0).start()
    replicas.register(0, "asr-1")
    replicas.register(1, "asr-2")
    replicas.place.tell_all()
    replicas.scenarios[2].registry.remove("asr-1")
    replicas.place.lose_all()
    for at in order:
        await replicas.place.replicas[at].read_anew(are_lost=True)
    assert [one.service.service_id for one in replicas.agreed()] == ["asr-2"]
    await replicas.add()
    assert len(replicas.agreed()) == 1


async def test_a_replica_that_missed_changes_for_long_knows_what_was_removed_meanwhile() -> None:
    """Also once the removal is recorded no more."""
    replicas = await Replicas(0, 0).start()
    replicas.register(0, "asr-1")
    replicas.register(0, "asr-2")
    replicas.place.tell_all()
    replicas.scenarios[0].registry.remove("asr-1")
    replicas.pass_time(REMOVAL_KEPT)
    await replicas.place.replicas[1].read_anew(are_lost=False)
    assert [one.service.service_id for one in replicas.known()[1]] == ["asr-2"]


async def test_what_was_read_anew_is_not_recorded_again() -> None:
    replicas = await Replicas(0, 0).start()
    replicas.register(0)
    replicas.place.tell_all()
    puts = replicas.place.puts
    for are_lost in (False, True):
        for one in replicas.place.replicas:
            await one.read_anew(are_lost=are_lost)
    assert replicas.place.puts == puts
    assert len(replicas.agreed()) == 1


async def test_a_static_service_drains_at_all_replicas_until_it_says_otherwise() -> None:
    """Also at one that is started later. Registrations of its id by a replica without it in its file change nothing."""
    static = asr(endpoint="http://static.example/", static=True)
    replicas = await Replicas(0, 0, static=(static,)).start()
    replicas.scenarios[0].registry.heartbeat("asr-1", draining=True)
    assert replicas.agreed() == [Instance(static, draining=True)]
    await replicas.add()
    assert replicas.agreed() == [Instance(static, draining=True)]
    replicas.scenarios[1].registry.heartbeat("asr-1", draining=False)
    assert replicas.agreed() == [Instance(static)]
    await replicas.place.replicas[0].read_anew(are_lost=False)
    replicas.scenarios[1].registry.retire(static.ref)
    assert replicas.agreed() == [Instance(static, draining=True)]
    replicas.static = ()
    await replicas.add()
    replicas.register(3)
    replicas.place.tell_all()
    assert replicas.known()[:3] == [[Instance(static, draining=True)]] * 3
    assert len(replicas.known()[3]) == 1


async def test_only_the_replica_that_may_removes_a_service_whose_lease_is_over() -> None:
    replicas = await Replicas(0, 0).start()
    replicas.register(0, lease_seconds=10)
    replicas.scenarios[1].may_reap = False
    replicas.place.tell_all()
    for at in (1, 0):
        replicas.scenarios[at].pass_time(15 + EXPIRED_KEPT)
    assert replicas.scenarios[1].state("asr-1") is InstanceState.EXPIRED
    assert replicas.known()[0] == []
    assert replicas.agreed() == []
