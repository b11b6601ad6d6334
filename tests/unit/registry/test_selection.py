"""Selection among eligible instances: capacity, load, failures, and replacements."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manager_agent.frozen import replace
from manager_agent.registry.circuit_breaker import TRIAL_TIMEOUT
from manager_agent.registry.instances import NO_WORKER_PAUSE, InstanceState
from manager_agent.registry.services import NotAvailable, RegisteredService
from manager_agent.session.attempt import Attempt, InstanceRef, ServiceReason, Timeline
from manager_agent.session.events import Refusal
from manager_agent.session.required_service import RequiredService, Requirement
from tests.unit.registries import ANY_ASR, RegistryScenario, asr, asrs
from tests.unit.sessions import a_service

pytestmark = pytest.mark.unit

HEALTHY, DRAINING, SUSPENDED, NO_WORKER, EXPIRED = InstanceState
NO_CAPACITY, NOT_REGISTERED = ServiceReason.NO_CAPACITY, ServiceReason.NOT_REGISTERED
BY_ID = Requirement("asr-1")


# --- room and load ----------------------------------------------------------------------------------


def test_no_service_gets_more_sessions_than_its_capacity() -> None:
    """Neither by type nor by id. Once a session is over its slot is free again."""
    scenario = RegistryScenario(asr(capacity=2))
    assert scenario.open(ANY_ASR) + scenario.open(BY_ID) == ["asr-1"] * 2
    assert scenario.refused(ANY_ASR) + scenario.refused(BY_ID) == [NO_CAPACITY] * 2
    scenario.refs["asr-1"] -= 1
    assert scenario.open(BY_ID) == ["asr-1"]


def test_a_refusal_tells_missing_services_from_full_ones() -> None:
    """An instance already given to this session does not count twice."""
    scenario = RegistryScenario(asr(), asr("full", labels={"lang": "zh"}, capacity=1))
    scenario.open(Requirement("full"))
    zh, de = Requirement(type="ASR", labels={"lang": "zh"}), Requirement(type="ASR", labels={"lang": "de"})
    assert scenario.refused(zh, de, Requirement("full"), Requirement("nobody")) == [
        *[NO_CAPACITY, NOT_REGISTERED, NO_CAPACITY, NOT_REGISTERED]
    ]
    assert scenario.refused(ANY_ASR, ANY_ASR) == [NO_CAPACITY]
    scenario.registry.remove("full")
    assert scenario.refused(ANY_ASR, ANY_ASR) == [NOT_REGISTERED]


def test_a_service_that_is_full_elsewhere_is_left_out() -> None:
    """Other replicas may have given its last slots away: no slot is known to be taken here."""
    registry = RegistryScenario(*asrs(2, capacity=1)).registry
    assert [entry.service_id for entry in registry.choose([ANY_ASR], full={"asr-1"})] == ["asr-2"]
    with pytest.raises(NotAvailable) as caught:
        registry.choose([ANY_ASR, BY_ID], full={"asr-1"})
    assert [unmet.reason for unmet in caught.value.unmet] == [NO_CAPACITY]


def test_a_hundred_sessions_spread_evenly_over_three_instances() -> None:
    """Of capacity 40 each: within 10 % of even, never above 40, and the 121st session is refused."""
    scenario = RegistryScenario(*asrs(3, capacity=40))
    for _ in range(100):
        scenario.open(ANY_ASR)
    assert sorted(scenario.refs.values()) == [33, 33, 34]
    for _ in range(20):
        scenario.open(ANY_ASR)
    assert set(scenario.refs.values()) == {40}
    assert scenario.refused(ANY_ASR) == [NO_CAPACITY]


CAPACITIES = st.lists(st.one_of(st.none(), st.integers(1, 30)), min_size=1, max_size=6)


@settings(max_examples=150, derandomize=True)
@given(capacities=CAPACITIES, count=st.integers(1, 120), seed=st.integers(0, 9))
def test_sessions_are_spread_in_proportion_to_capacity(capacities: list[int | None], count: int, seed: int) -> None:
    """To within one session, and never above the capacity."""
    scenario = RegistryScenario(*(asr(f"asr-{n}", capacity=room) for n, room in enumerate(capacities)), seed=seed)
    for _ in range(count):
        try:
            scenario.open(ANY_ASR)
        except NotAvailable:
            assert scenario.refs == {f"asr-{n}": room for n, room in enumerate(capacities)}
            break
    rooms = {f"asr-{n}": room for n, room in enumerate(capacities)}
    assert all(room is None or scenario.refs[name] <= room for name, room in rooms.items())
    free = [scenario.refs[name] / (room or 100) for name, room in rooms.items() if scenario.refs[name] != room]
    for name, room in rooms.items():
        assert (scenario.refs[name] - 1) / (room or 100) <= min(free, default=1)


@settings(max_examples=100, derandomize=True)
@given(
    count=st.integers(1, 5),
    capacity=st.integers(1, 12),
    moves=st.lists(st.one_of(st.just("open"), st.integers(0, 200)), min_size=10, max_size=150),
    seed=st.integers(0, 9),
)
def test_new_sessions_go_to_the_instance_with_the_fewest(
    count: int, capacity: int, moves: list[str | int], seed: int
) -> None:
    """A session is refused only when all instances are full."""
    scenario, running = RegistryScenario(*asrs(count, capacity=capacity), seed=seed), list[str]()
    for move in moves:
        fewest = min(scenario.refs[f"asr-{n + 1}"] for n in range(count))
        if isinstance(move, int):
            if running:
                scenario.refs[running.pop(move % len(running))] -= 1
        elif len(running) == count * capacity:
            assert scenario.refused(ANY_ASR) == [NO_CAPACITY]
        else:
            [given_to] = scenario.open(ANY_ASR)
            running.append(given_to)
            assert scenario.refs[given_to] == fewest + 1
        assert scenario.refs.total() == len(running)


def test_chance_decides_between_equally_loaded_instances() -> None:
    """Sessions that end before the next begins do not all go to the same instance."""
    scenario, given_to = RegistryScenario(*asrs(4)), Counter[str]()
    for _ in range(400):
        [service_id] = scenario.open(ANY_ASR)
        given_to[service_id] += 1
        scenario.refs[service_id] -= 1
    assert all(given_to[f"asr-{n}"] > 60 for n in range(1, 5))


def test_a_reported_load_counts_if_it_exceeds_the_known_one() -> None:
    """An instance that is busy with other work is spared. A report of no load does not undo reservations."""
    scenario = RegistryScenario(*asrs(2, capacity=10))
    scenario.registry.heartbeat("asr-1", load=0.35)
    assert [*scenario.open(ANY_ASR), *scenario.open(ANY_ASR), *scenario.open(ANY_ASR)] == ["asr-2"] * 3
    scenario.registry.heartbeat("asr-2", load=0.0)
    assert scenario.open(ANY_ASR) == ["asr-2"]
    assert scenario.open(ANY_ASR) == ["asr-1"]


def test_sessions_between_two_heartbeats_are_spread() -> None:
    """Sessions given since the last report are added to the reported load."""
    scenario = RegistryScenario(*asrs(2, capacity=10))
    scenario.registry.heartbeat("asr-1", load=0.5)
    scenario.registry.heartbeat("asr-2", load=0.55)
    for _ in range(10):
        scenario.open(ANY_ASR)
    assert sorted(scenario.refs.values()) == [5, 5]


def test_a_full_reported_load_excludes_no_instance() -> None:
    """Capacity, draining and refusals do."""
    scenario = RegistryScenario(asr())
    scenario.registry.heartbeat("asr-1", load=1.0)
    assert scenario.open(ANY_ASR) == ["asr-1"]


# --- failures ---------------------------------------------------------------------------------------


def test_an_instance_with_five_failures_is_suspended_and_then_tried_once() -> None:
    scenario = RegistryScenario(*asrs(2))
    scenario.fail("asr-1")
    assert scenario.state("asr-1") is SUSPENDED
    assert scenario.refused(BY_ID) == [NO_CAPACITY]
    scenario.pass_time(30)
    assert (scenario.state("asr-1"), scenario.open(BY_ID)) == (HEALTHY, ["asr-1"])
    assert (scenario.state("asr-1"), scenario.refused(BY_ID)) == (SUSPENDED, [NO_CAPACITY])
    scenario.registry.report_success(asr().ref)
    assert scenario.state("asr-1") is HEALTHY


def test_a_failed_trial_suspends_the_instance_for_longer() -> None:
    scenario = RegistryScenario(*asrs(2))
    scenario.fail("asr-1")
    scenario.pass_time(30)
    scenario.open(BY_ID)
    scenario.fail("asr-1", times=1)
    scenario.pass_time(59)
    assert scenario.state("asr-1") is SUSPENDED
    scenario.pass_time(1)
    assert scenario.state("asr-1") is HEALTHY


def test_the_trial_of_a_suspended_instance_is_repeated_if_it_has_no_outcome() -> None:
    """Its session may have been closed."""
    scenario = RegistryScenario(*asrs(2))
    scenario.fail("asr-1")
    scenario.pass_time(30)
    scenario.open(BY_ID)
    scenario.pass_time(TRIAL_TIMEOUT)
    assert scenario.open(BY_ID) == ["asr-1"]


def test_a_refused_session_does_not_use_up_the_trial_of_a_suspended_instance() -> None:
    scenario = RegistryScenario(*asrs(2))
    scenario.fail("asr-1")
    scenario.pass_time(30)
    assert scenario.refused(BY_ID, Requirement("nobody")) == [NOT_REGISTERED]
    assert scenario.open(BY_ID) == ["asr-1"]


def test_a_success_resets_the_count_of_failures() -> None:
    scenario = RegistryScenario(*asrs(2))
    scenario.fail("asr-1", times=4)
    scenario.registry.report_success(asr().ref)
    scenario.fail("asr-1", times=4)
    assert scenario.state("asr-1") is HEALTHY


def test_the_last_healthy_instance_of_a_type_is_never_suspended() -> None:
    """Neither when it is alone from the start, nor when the others drain, are suspended, or expire."""
    scenario = RegistryScenario(*asrs(3), asr("llm", type="LLM"))
    scenario.registry.heartbeat("asr-3", draining=True)
    scenario.fail("asr-1")
    scenario.fail("asr-2", times=50)
    assert [scenario.state(f"asr-{n}") for n in (1, 2, 3)] == [SUSPENDED, HEALTHY, DRAINING]
    scenario.registry.heartbeat("asr-3", draining=False)
    scenario.fail("asr-2", times=1)
    assert scenario.state("asr-2") is SUSPENDED
    scenario.registry.remove("asr-3")
    assert [scenario.state(f"asr-{n}") for n in (1, 2)] == [HEALTHY, HEALTHY], "rather these than none"


def test_reports_about_unknown_services_are_ignored() -> None:
    """They were removed while a session still had them."""
    scenario = RegistryScenario()
    scenario.registry.report_failure(asr("gone").ref)
    scenario.registry.report_success(asr("gone").ref)
    assert scenario.registry.list() == []


# --- another one ------------------------------------------------------------------------------------


def entry_of(scenario: RegistryScenario, requirement: Requirement) -> RequiredService:
    [entry] = scenario.registry.choose([requirement])
    scenario.refs[entry.service_id] += 1
    return entry


def test_a_replacement_meets_the_requirement_and_is_not_excluded() -> None:
    zh = {"lang": "zh"}
    scenario = RegistryScenario(
        asr("a", labels=zh), asr("b", labels=zh), asr("c", labels=zh), asr("d"), asr("e", type="LLM")
    )
    entry = entry_of(scenario, Requirement(type="ASR", labels=zh))
    excluded = {entry.service_id}
    for _ in range(2):
        other = scenario.registry.another(entry, excluded)
        assert other is not None
        assert other.service_id in {"a", "b", "c"} - excluded
        excluded.add(other.service_id)
    assert scenario.registry.another(entry, excluded) is None


def test_a_replacement_is_eligible_and_the_least_loaded() -> None:
    scenario = RegistryScenario(*asrs(5, capacity=2))
    entry = a_service("asr-1", "ASR", by_id=False)
    scenario.refs["asr-2"], scenario.refs["asr-4"] = 2, 1
    scenario.registry.heartbeat("asr-3", draining=True)
    found = [scenario.registry.another(entry, {"asr-1", *more}) for more in ((), ("asr-5",), ("asr-4", "asr-5"))]
    assert [one and one.service_id for one in found] == ["asr-5", "asr-4", None]


def tried_before(service: RegisteredService, attempt: int) -> Attempt:
    return Attempt(
        service.chosen, attempt, tries=1, refusal=Refusal.UNREACHABLE, timeline=Timeline(invited=float(attempt - 1))
    )


def test_replacements_go_to_untried_instances_then_to_the_longest_untried() -> None:
    """Whatever their load. An instance that has moved is another one."""
    scenario = RegistryScenario(*asrs(3, capacity=2), asr("asr-4", endpoint="http://moved.example/", capacity=2))
    scenario.refs["asr-4"] = 1
    past = tuple(tried_before(asr(f"asr-{n}"), nth) for nth, n in enumerate((1, 4, 3, 1), start=1))
    entry = replace(a_service("asr-2", "ASR", "http://asr-2.example/", by_id=False), past=past)
    entry = replace(entry, current=replace(entry.current, number=5))
    order: list[InstanceRef] = []
    while found := scenario.registry.another(entry, (), order):
        order.append(found.ref)
    assert order == [scenario.registry.get("asr-4").ref, asr("asr-3").ref, asr("asr-1").ref, entry.current.ref]


def test_a_service_required_by_id_is_replaced_only_by_itself() -> None:
    """Its slot in the session exists already, so that it needs no further one."""
    scenario = RegistryScenario(asr(capacity=1), asr("asr-2"))
    entry = entry_of(scenario, BY_ID)
    again = scenario.registry.another(entry, ())
    assert again is not None
    assert again.service_id == "asr-1"
    assert scenario.registry.another(entry, {"asr-1"}) is None
    scenario.registry.register(asr(endpoint="http://moved.example/", capacity=1))
    moved = scenario.registry.another(entry, ())
    assert moved is not None
    assert moved.endpoint == "http://moved.example/"


# --- agents without a worker ------------------------------------------------------------------------


def test_an_agent_without_a_worker_is_not_healthy_and_chosen_last_for_a_while() -> None:
    scenario = RegistryScenario(
        asr("asr-1", endpoint=None, agent_name="a"), asr("asr-2", endpoint=None, agent_name="b")
    )
    ref = scenario.registry.get("asr-1").ref
    scenario.registry.report_no_worker(ref)
    assert scenario.state("asr-1") is NO_WORKER
    assert scenario.open(ANY_ASR) + scenario.open(ANY_ASR) == ["asr-2", "asr-2"]
    scenario.pass_time(NO_WORKER_PAUSE)
    assert (scenario.open(ANY_ASR), scenario.state("asr-1")) == (["asr-1"], NO_WORKER)
    scenario.registry.report_worker(ref)
    assert scenario.state("asr-1") is HEALTHY


def test_the_only_agent_of_its_type_is_chosen_without_a_worker_too() -> None:
    scenario = RegistryScenario(asr("asr-1", endpoint=None, agent_name="a"))
    scenario.registry.report_no_worker(scenario.registry.get("asr-1").ref)
    scenario.fail("asr-1")
    assert (scenario.open(ANY_ASR), scenario.state("asr-1")) == (["asr-1"], NO_WORKER)


# --- many services ----------------------------------------------------------------------------------


def test_shared_service_stands_in_for_every_caller_and_another_callers_for_none() -> None:
    mine, theirs, shared = asr("mine", owner="shop"), asr("theirs", owner="game"), asr("shared", shared=True)
    scenario = RegistryScenario(mine, theirs)
    scenario.fail("mine")
    assert scenario.state("mine") is HEALTHY
    scenario.registry.register(shared)
    scenario.fail("mine", times=1)
    assert scenario.state("mine") is SUSPENDED
    scenario.fail("shared")
    assert scenario.state("shared") is HEALTHY
