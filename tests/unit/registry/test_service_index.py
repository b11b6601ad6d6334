"""The index of services against the plain rule: a search through all of them, at every choice."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manager_agent.registry.instances import Instance, InstanceState, Rank
from manager_agent.registry.registry import Registry
from manager_agent.registry.selection import ADMITTING
from manager_agent.registry.services import RegisteredService
from manager_agent.session.attempt import InstanceRef
from manager_agent.session.required_service import Requirement
from tests.unit.registries import ANY_ASR, HeldSlots, RegistryScenario, asr, asrs
from tests.unit.sessions import a_service

pytestmark = pytest.mark.unit

IDS = [f"asr-{n}" for n in range(5)]
OWNERS = ["shop", "game"]
LABELS: list[dict[str, str]] = [{}, {"lang": "zh"}, {"lang": "zh", "size": "big"}]
REQUIREMENTS = [
    *(Requirement(service_id) for service_id in IDS[:2]),
    *(Requirement(type=type, labels=labels) for type in ("ASR", "LLM") for labels in LABELS[:2]),
]


@dataclass(frozen=True, slots=True)
class PlainRule:
    """Which services may be invited, and their ranks, by a search through all of them."""

    instances: Collection[Instance]
    slots: HeldSlots
    now: float

    def state(self, instance: Instance) -> InstanceState:
        return instance.state(self.now, last=self.is_last(instance))

    def is_last(self, instance: Instance) -> bool:
        """Whether no other instance is reliable that every session which may use it may use instead."""
        service = instance.service
        return not any(
            other.is_reliable(self.now)
            and other.service.type == service.type
            and (other.service.is_for_all or (not service.is_for_all and other.service.owner == service.owner))
            for other in self.instances
            if other is not instance
        )

    def ranks(self, requirement: Requirement, owner: str, holder: str | None) -> dict[str, Rank]:
        """The rank of each service that may be invited. `holder` is in the session already."""
        found = dict[str, Rank]()
        for one in self.instances:
            if not one.service.serves(owner) or not one.service.meets(requirement):
                continue
            in_flight = self.slots[one.service.service_id] - (one.service.service_id == holder)
            if self.state(one) in ADMITTING and one.has_capacity(in_flight):
                found[one.service.service_id] = one.lacked_worker(self.now), one.load_score(in_flight)
        return found


# --- what may happen ----------------------------------------------------------------------------------

Happening = Callable[[RegistryScenario], None]


def registered_one(service: RegisteredService) -> Happening:
    def happen(scenario: RegistryScenario) -> None:
        scenario.registry.register(service)

    return happen


def of_one(service_id: str, act: Callable[[Registry, InstanceRef], object]) -> Happening:
    """`act` on this service, if it is registered."""

    def happen(scenario: RegistryScenario) -> None:
        found = [one.service.ref for one in scenario.registry.instances if one.service.service_id == service_id]
        for ref in found:
            act(scenario.registry, ref)

    return happen


def holding(service_id: str, number: int) -> Happening:
    def happen(scenario: RegistryScenario) -> None:
        scenario.refs[service_id] = max(0, scenario.refs[service_id] + number)

    return happen


def failing(registry: Registry, ref: InstanceRef) -> None:
    for _ in range(5):
        registry.report_failure(ref)


ACTS: list[Callable[[Registry, InstanceRef], object]] = [
    lambda registry, ref: registry.remove(ref.service_id),
    lambda registry, ref: registry.heartbeat(ref.service_id, load=0.0),
    lambda registry, ref: registry.heartbeat(ref.service_id, load=0.35),
    lambda registry, ref: registry.heartbeat(ref.service_id, draining=True),
    lambda registry, ref: registry.heartbeat(ref.service_id, draining=False),
    lambda registry, ref: registry.adopt(registry.get(ref.service_id), draining=False),
    lambda registry, ref: registry.assign(ref.service_id),
    lambda registry, ref: registry.report_success(ref),
    lambda registry, ref: registry.report_no_worker(ref),
    lambda registry, ref: registry.report_worker(ref),
    failing,
    failing,
]
SERVICES = st.builds(
    asr,
    st.sampled_from(IDS),
    type=st.sampled_from(["ASR", "ASR", "LLM"]),
    owner=st.sampled_from(OWNERS),
    shared=st.booleans(),
    labels=st.sampled_from(LABELS),
    capacity=st.sampled_from([None, 1, 2, 5]),
    lease_seconds=st.sampled_from([None, 5.0, 60.0]),
)
HAPPENINGS = st.one_of(
    st.builds(registered_one, SERVICES),
    st.builds(of_one, st.sampled_from(IDS), st.sampled_from(ACTS)),
    st.builds(of_one, st.sampled_from(IDS), st.sampled_from(ACTS)),
    st.builds(holding, st.sampled_from(IDS), st.sampled_from([-1, 1, 1, 3])),
    st.sampled_from([0.0, 1.0, 8.0, 30.0, 60.0]).map(lambda seconds: lambda scenario: scenario.pass_time(seconds)),
)


@settings(max_examples=60, derandomize=True)
@given(
    services=st.lists(SERVICES, min_size=2, max_size=6),
    happenings=st.lists(HAPPENINGS, min_size=1, max_size=25),
    owner=st.sampled_from(OWNERS),
    holder=st.sampled_from([None, *IDS]),
)
def test_services_are_offered_as_a_search_through_all_would_find_them(
    services: list[RegisteredService], happenings: list[Happening], owner: str, holder: str | None
) -> None:
    """Whatever happened to the registry, and whenever: the same services, the best first."""
    scenario, chance = RegistryScenario(*services), random.Random(0)
    for happen in happenings:
        happen(scenario)
        selection = scenario.registry.refresh()
        plain = PlainRule(scenario.registry.instances, scenario.refs, scenario.now)
        for one in scenario.registry.instances:
            assert selection.is_last(one) == plain.is_last(one)
            assert selection.status(one).state == plain.state(one)
        for requirement in REQUIREMENTS:
            ranks = plain.ranks(requirement, owner, holder)
            ids = list(dict.fromkeys(selection.offers(requirement, chance, owner, holder)))
            assert sorted(ids) == sorted(ranks)
            assert [ranks[service_id] for service_id in ids] == sorted(ranks.values())


# --- however many there are ---------------------------------------------------------------------------


@pytest.mark.parametrize("failing_ones", [0, 199])
def test_choice_looks_only_at_instances_that_have_changed(monkeypatch: pytest.MonkeyPatch, failing_ones: int) -> None:
    """However much a session requires: hundreds of services would keep everyone waiting."""
    scenario, looks = RegistryScenario(*asrs(200)), list[str]()
    for number in range(failing_ones):
        scenario.fail(f"asr-{number + 1}")
    scenario.registry.refresh()
    before = Instance.rank

    def rank(instance: Instance, in_flight: int, now: float) -> Rank | None:
        looks.append(instance.service.service_id)
        return before(instance, in_flight, now)

    monkeypatch.setattr(Instance, "rank", rank)
    scenario.refs["asr-200"] += 1
    chosen = scenario.registry.choose([ANY_ASR, *[Requirement(type="ASR", optional=True)] * 31])
    assert len(chosen) == (1 if failing_ones else 32)
    assert looks == ["asr-200"]
    scenario.registry.another(a_service("asr-1", "ASR", by_id=False), ())
    assert len(looks) <= 1 + len(chosen) + 1
