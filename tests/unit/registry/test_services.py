"""The registered services, and which are chosen for the requirements of a session."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manager_agent.registry.registry import Registry
from manager_agent.registry.services import NotAvailable, RegisteredService, UnknownService, Unmet
from manager_agent.session.attempt import ServiceReason, ServiceState
from manager_agent.session.counts import SessionCounts
from manager_agent.session.events import ReadyOn
from manager_agent.session.required_service import Requirement
from tests.unit.sessions import a_service, made_optional

pytestmark = pytest.mark.unit

ASR = RegisteredService("asr-service", "ASR", "http://asr.example/invite")
ASR_ZH = RegisteredService("asr-zh", "ASR", "http://asr-zh.example/invite", labels={"lang": "zh", "size": "big"})
LLM = RegisteredService("llm-service", "LLM", "http://llm.example/invite", ready_on=ReadyOn.SIGNAL)
BOT = RegisteredService("bot-service", "BOT", None, agent_name="bot")


def a_registry(*services: RegisteredService, seed: int = 0) -> Registry:
    registry = Registry(lambda: 0.0, SessionCounts(), random.Random(seed))
    for service in services:
        registry.register(service)
    return registry


def by_id(*service_ids: str) -> list[Requirement]:
    return [Requirement(service_id) for service_id in service_ids]


def of_type(kind: str, *, optional: bool = False, **labels: str) -> Requirement:
    return Requirement(type=kind, labels=labels, optional=optional)


def chosen(registry: Registry, requirements: list[Requirement]) -> list[str]:
    return [service.service_id for service in registry.choose(requirements)]


def test_registering_a_service_again_replaces_it() -> None:
    """The last registration counts."""
    registry = a_registry()
    moved = RegisteredService("asr-service", "ASR", "http://elsewhere.example/")
    assert (registry.register(ASR), registry.register(moved)) == (True, False)
    assert registry.get("asr-service") is moved
    assert registry.list() == [moved]


def test_services_are_listed_in_order_of_their_id() -> None:
    """In whatever order they registered."""
    assert a_registry(LLM, BOT, ASR).list() == [ASR, BOT, LLM]


def test_services_are_found_by_the_names_that_a_caller_may_use() -> None:
    """By their ids, their agent names and their types: one of each type will do."""
    own, shared, other = replace(BOT, owner="alice"), replace(ASR, shared=True), replace(LLM, owner="bob")
    registry = a_registry(other, own, shared)
    for name, found in (("bot", own), ("BOT", own), ("bot-service", own), ("asr-service", shared), ("ASR", shared)):
        assert registry.named([name], "alice") == [found]
    assert registry.named(["LLM", "llm-service", "nobody"], "alice") == []
    assert registry.named(["bot", "ASR", "BOT"], "alice") == [shared, own]
    assert registry.named(["bot", "LLM"], "bob") == [other]


def test_services_of_an_agent_and_of_a_caller_are_known() -> None:
    """As they are registered by now."""
    registry = a_registry(replace(BOT, owner="alice"), replace(ASR, owner="alice"), LLM)
    assert (registry.count, registry.owned_by("alice"), registry.owned_by("bob")) == (3, 2, 0)
    registry.register(moved := replace(BOT, owner="bob", agent_name="other"))
    assert [*registry.of_agent("bot"), *registry.of_agent("other")] == [moved]
    assert (registry.count, registry.owned_by("alice"), registry.owned_by("bob")) == (3, 1, 1)
    registry.remove(BOT.service_id)
    assert [*registry.of_agent("other")] == []
    assert (registry.owned_by("bob"), BOT.service_id in registry, ASR.service_id in registry) == (0, False, True)


def test_a_removed_service_is_unknown() -> None:
    """As one that never was; the error names it."""
    registry = a_registry(ASR)
    assert registry.remove("asr-service").service is ASR
    for ask in (registry.get, registry.remove):
        with pytest.raises(UnknownService, match="'asr-service'"):
            ask("asr-service")
    assert registry.list() == []


def test_a_chosen_service_is_as_registered_and_has_no_attempt_yet() -> None:
    """One entry for each requirement, in the order of the request."""
    session_needs = [Requirement("llm-service"), Requirement("bot-service", optional=True)]
    assert a_registry(ASR, LLM, BOT).choose(session_needs) == (
        a_service("llm-service", "LLM", "http://llm.example/invite", ready_on=ReadyOn.SIGNAL),
        made_optional(a_service("bot-service", "BOT", agent_name="bot")),
    )
    assert a_registry(LLM).choose(by_id("llm-service"))[0].state is ServiceState.PENDING


def test_a_session_without_requirements_gets_no_service() -> None:
    """A plain room."""
    assert a_registry(ASR).choose([]) == ()


def test_a_type_is_met_by_any_service_with_all_the_labels() -> None:
    """Additional labels do no harm; a missing or different one does."""
    registry = a_registry(ASR, ASR_ZH)
    assert chosen(registry, [of_type("ASR", lang="zh")]) == ["asr-zh"]
    assert chosen(registry, [of_type("ASR", lang="zh", size="big")]) == ["asr-zh"]
    for unmet in (of_type("ASR", lang="en"), of_type("ASR", lang="zh", size="small"), of_type("asr")):
        with pytest.raises(NotAvailable):
            registry.choose([unmet])


def test_choices_between_equal_services_are_spread() -> None:
    """Over many sessions every instance gets its share."""
    registry = a_registry(*(RegisteredService(f"asr-{n}", "ASR", f"http://asr-{n}.example/") for n in range(4)))
    picks = [chosen(registry, [of_type("ASR")])[0] for _ in range(400)]
    assert all(picks.count(f"asr-{n}") > 60 for n in range(4))


def test_no_service_is_chosen_twice_for_a_session() -> None:
    """Two of a type are two services; with only one, the second requirement is not met."""
    assert sorted(chosen(a_registry(ASR, ASR_ZH), [of_type("ASR"), of_type("ASR")])) == ["asr-service", "asr-zh"]
    with pytest.raises(NotAvailable) as caught:
        a_registry(ASR).choose([of_type("ASR"), of_type("ASR")])
    assert caught.value.unmet == (Unmet(of_type("ASR"), ServiceReason.NOT_REGISTERED),)


@pytest.mark.parametrize("seed", range(10))
def test_a_service_required_by_id_is_not_chosen_for_a_type(seed: int) -> None:
    """In whatever order the requirements stand."""
    registry = a_registry(ASR, ASR_ZH, seed=seed)
    assert chosen(registry, [of_type("ASR"), Requirement("asr-zh")]) == ["asr-service", "asr-zh"]


def test_an_optional_service_that_is_not_registered_is_left_out() -> None:
    """It holds nothing back, and is no error."""
    registry = a_registry(ASR)
    needs = [of_type("TTS", optional=True), *by_id("asr-service"), Requirement("tts-1", optional=True)]
    assert chosen(registry, needs) == ["asr-service"]


def test_every_unmet_requirement_is_named_with_its_reason() -> None:
    """All at once, and only those. The error has the requirement too."""
    needs = [*by_id("asr-service", "tts-service"), of_type("VAD", lang="zh"), Requirement("x", optional=True)]
    with pytest.raises(NotAvailable, match=r"^no service for: tts-service, type VAD$") as caught:
        a_registry(ASR).choose(needs)
    assert [unmet.requirement for unmet in caught.value.unmet] == needs[1:3]
    assert {unmet.reason for unmet in caught.value.unmet} == {ServiceReason.NOT_REGISTERED}
    assert caught.value.requirements == tuple(needs)


SERVICES = (ASR, ASR_ZH, RegisteredService("asr-en", "ASR", "http://e.example/", labels={"lang": "en"}), LLM)
REQUIREMENTS = st.sampled_from(
    [
        *by_id("asr-service", "asr-zh"),
        of_type("ASR"),
        of_type("ASR", lang="zh"),
        of_type("ASR", lang="en"),
        of_type("LLM"),
    ]
)


def can_be_met(requirements: list[Requirement]) -> bool:
    """By trying all combinations."""
    return len(requirements) <= len(SERVICES) and any(
        all(service.meets(requirement) for requirement, service in zip(requirements, some, strict=True))
        for some in permutations(SERVICES, len(requirements))
    )


@settings(max_examples=200, derandomize=True)
@given(requirements=st.lists(REQUIREMENTS, max_size=4), seed=st.integers(0, 5))
def test_a_session_is_refused_only_if_its_requirements_can_not_be_met(
    requirements: list[Requirement], seed: int
) -> None:
    """One service for each, none twice. Chance and order decide which is chosen, not whether the session is refused."""
    registry = a_registry(*SERVICES, seed=seed)
    if not can_be_met(requirements):
        with pytest.raises(NotAvailable):
            registry.choose(requirements)
        return
    services = [registry.get(service.service_id) for service in registry.choose(requirements)]
    assert len({service.service_id for service in services}) == len(requirements)
    assert all(service.meets(r) for r, service in zip(requirements, services, strict=True))


def test_required_services_are_chosen_before_optional_ones() -> None:
    """Also if the optional one is required by its id."""
    assert chosen(a_registry(ASR), [of_type("ASR", optional=True), of_type("ASR")]) == ["asr-service"]
    entries = a_registry(ASR).choose([Requirement("asr-service", optional=True), of_type("ASR")])
    assert [(entry.service_id, entry.optional) for entry in entries] == [("asr-service", False)]


def test_a_chosen_entry_keeps_its_requirement() -> None:
    """So that another instance can be found for it."""
    asked = [Requirement("llm-service"), of_type("ASR", optional=True, lang="zh")]
    assert [entry.requirement for entry in a_registry(LLM, ASR_ZH).choose(asked)] == asked
