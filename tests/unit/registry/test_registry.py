"""The registry of services in virtual time: register, heartbeat, drain, expire, replace, remove."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from manager_agent.registry.circuit_breaker import FAILURES_MAX
from manager_agent.registry.instances import Instance, InstanceState
from manager_agent.registry.leases import EXPIRED_KEPT
from manager_agent.registry.services import OtherInstance, StaticService, UnknownService
from manager_agent.session.attempt import ServiceReason
from tests.unit.registries import ANY_ASR, RegistryScenario, asr, asrs

pytestmark = pytest.mark.unit

HEALTHY, DRAINING, SUSPENDED, NO_WORKER, EXPIRED = InstanceState
NO_CAPACITY = [ServiceReason.NO_CAPACITY]


# --- leases and heartbeats --------------------------------------------------------------------------


def test_a_service_without_a_lease_never_expires() -> None:
    """It registered once, and is not heard of again."""
    scenario = RegistryScenario(asr())
    scenario.pass_time(1_000)
    assert scenario.state("asr-1") is HEALTHY
    assert scenario.registry.status("asr-1").instance.lease is None


def test_a_heartbeat_renews_the_lease() -> None:
    scenario = RegistryScenario(asr(lease_seconds=10))
    scenario.pass_time(60, "asr-1")
    assert scenario.state("asr-1") is HEALTHY
    scenario.pass_time(14.9)
    assert (scenario.state("asr-1"), scenario.open(ANY_ASR)) == (HEALTHY, ["asr-1"])
    scenario.pass_time(0.1)
    assert (scenario.state("asr-1"), scenario.refused(ANY_ASR)) == (EXPIRED, NO_CAPACITY)


def test_registering_again_renews_the_lease() -> None:
    scenario = RegistryScenario(asr(lease_seconds=10))
    for _ in range(5):
        scenario.pass_time(14)
        assert scenario.registry.register(asr(lease_seconds=10)) is False
    assert scenario.state("asr-1") is HEALTHY


def test_an_expired_service_is_back_with_a_heartbeat_until_it_is_reaped() -> None:
    """After that it has to register again, and is told so."""
    scenario = RegistryScenario(asr(lease_seconds=10))
    scenario.pass_time(15 + EXPIRED_KEPT - 1)
    assert scenario.state("asr-1") is EXPIRED
    assert scenario.registry.heartbeat("asr-1").state is HEALTHY
    scenario.pass_time(15 + EXPIRED_KEPT)
    with pytest.raises(UnknownService):
        scenario.registry.heartbeat("asr-1")


def test_services_are_reaped_only_by_the_process_that_has_acted_for_as_long() -> None:
    """Their heartbeats may go to another process. One that has acted again for long enough knows better."""
    scenario = RegistryScenario(asr(lease_seconds=10))
    scenario.may_reap = False
    scenario.pass_time(15 + 2 * EXPIRED_KEPT)
    scenario.may_reap = True
    scenario.pass_time(EXPIRED_KEPT - 1)
    assert scenario.state("asr-1") is EXPIRED
    scenario.pass_time(1)
    with pytest.raises(UnknownService):
        scenario.registry.get("asr-1")


def test_when_most_services_expire_at_once_they_are_held_for_a_heartbeat() -> None:
    """The manager was cut off for 14 s: no service is taken for dead. One that has gone is found out a lease later."""
    scenario = RegistryScenario(*asrs(4, lease_seconds=10))
    scenario.pass_time(16)
    assert [status.state for status in scenario.registry.statuses()] == [HEALTHY] * 4
    scenario.pass_time(30, "asr-1", "asr-2", "asr-3")
    assert [status.state for status in scenario.registry.statuses()] == [HEALTHY] * 3 + [EXPIRED]


def test_time_in_which_the_process_was_suspended_expires_no_service() -> None:
    """Not even one that is alone. The first call afterwards finds every service there."""
    scenario = RegistryScenario(asr(lease_seconds=10))
    scenario.pass_time(9)
    scenario.now += 3_600
    assert scenario.open(ANY_ASR) == ["asr-1"]
    scenario.pass_time(6)
    assert scenario.state("asr-1") is EXPIRED


# --- drain, replace, remove -------------------------------------------------------------------------


def test_a_draining_service_gets_no_new_sessions() -> None:
    """It can take that back. A heartbeat that does not mention it changes nothing."""
    scenario = RegistryScenario(asr())
    scenario.registry.heartbeat("asr-1", draining=True)
    scenario.registry.heartbeat("asr-1", load=0.5)
    assert (scenario.state("asr-1"), scenario.refused(ANY_ASR)) == (DRAINING, NO_CAPACITY)
    scenario.registry.heartbeat("asr-1", draining=False)
    assert scenario.open(ANY_ASR) == ["asr-1"]


def test_a_service_that_registers_elsewhere_is_a_new_instance() -> None:
    """Neither draining nor loaded, and without failures."""
    scenario = RegistryScenario(*asrs(2))
    scenario.registry.heartbeat("asr-1", draining=True, load=0.9)
    scenario.fail("asr-1")
    assert scenario.registry.register(asr(endpoint="http://new.example/")) is False
    status = scenario.registry.status("asr-1")
    assert (status.state, status.instance.load) == (HEALTHY, None)


def test_a_service_that_registers_at_the_same_endpoint_keeps_its_failures() -> None:
    """It may crash, come back and crash. When it deregisters in between it starts anew."""
    scenario = RegistryScenario(*asrs(2))
    scenario.fail("asr-1")
    scenario.registry.register(asr())
    assert scenario.state("asr-1") is SUSPENDED
    scenario.registry.remove("asr-1")
    scenario.registry.register(asr())
    assert scenario.state("asr-1") is HEALTHY


def test_a_call_of_an_old_instance_does_not_affect_the_new_one_of_its_id() -> None:
    """In a rolling restart the old one deregisters after the new one has registered."""
    scenario = RegistryScenario(asr(endpoint="http://old.example/"))
    scenario.registry.register(asr(endpoint="http://new.example/"))
    saying: list[Callable[[], object]] = [
        lambda: scenario.registry.remove("asr-1", endpoint="http://old.example/"),
        lambda: scenario.registry.heartbeat("asr-1", draining=True, endpoint="http://old.example/"),
    ]
    for late in saying:
        with pytest.raises(OtherInstance, match="'asr-1' is registered with another endpoint"):
            late()
    scenario.registry.retire(asr(endpoint="http://old.example/").ref)
    assert scenario.state("asr-1") is HEALTHY
    assert scenario.registry.remove("asr-1", endpoint="http://new.example/").service.endpoint == "http://new.example/"


def test_outcomes_of_an_old_instance_do_not_count_for_the_new_one() -> None:
    """Its sessions learn only now that it is gone. Neither do its successes excuse the new one."""
    scenario = RegistryScenario(*asrs(2))
    old = scenario.registry.get("asr-1").ref
    scenario.registry.register(asr(endpoint="http://new.example/"))
    for _ in range(5):
        scenario.registry.report_failure(old)
    assert scenario.state("asr-1") is HEALTHY
    scenario.fail("asr-1")
    scenario.registry.report_success(old)
    assert scenario.state("asr-1") is SUSPENDED


def test_a_service_that_wants_no_further_invites_is_removed() -> None:
    scenario = RegistryScenario(asr())
    scenario.registry.retire(asr().ref)
    scenario.registry.retire(asr().ref)
    assert scenario.registry.list() == []


def test_a_static_service_is_not_replaced_removed_or_reaped() -> None:
    """The file says what it is; its heartbeats say how it is doing."""
    scenario = RegistryScenario(asr(static=True, lease_seconds=10))
    with pytest.raises(StaticService, match="'asr-1' is listed in SERVICES_FILE"):
        scenario.registry.register(asr())
    with pytest.raises(StaticService):
        scenario.registry.remove("asr-1")
    scenario.registry.retire(asr().ref)
    assert scenario.state("asr-1") is DRAINING
    scenario.pass_time(1_000)
    assert scenario.state("asr-1") is EXPIRED
    assert scenario.registry.heartbeat("asr-1", draining=False).state is HEALTHY


# --- what is kept -----------------------------------------------------------------------------------


def test_a_restored_service_has_a_whole_lease() -> None:
    """And is still draining if it was. Service ids that are registered already stay as they are."""
    scenario = RegistryScenario(asr("asr-1", static=True))
    old = asr("asr-2", lease_seconds=10, registered_at=1.0)
    kept = [Instance(asr("asr-1", endpoint="http://old.example/")), Instance(old, draining=True)]
    assert scenario.registry.restore(kept) == 1
    scenario.pass_time(10)
    assert [s.state for s in scenario.registry.statuses()] == [HEALTHY, DRAINING]
    assert scenario.registry.get("asr-1").static
    assert scenario.registry.get("asr-2") == old


def test_the_repr_of_the_registry_names_its_services() -> None:
    scenario = RegistryScenario(*asrs(2), replace(asr("asr-3"), lease_seconds=5))
    scenario.registry.heartbeat("asr-2", draining=True)
    scenario.pass_time(10)
    assert repr(scenario.registry) == "<Registry asr-1 healthy, asr-2 draining, asr-3 expired>"


def test_log_entries_of_a_service_show_nothing_secret_of_its_endpoint() -> None:
    scenario = RegistryScenario(*asrs(2))
    service = asr(endpoint="http://asr.example/invite?key=hidden")
    with capture_logs() as logs:
        scenario.registry.register(service)
        for _ in range(FAILURES_MAX):
            scenario.registry.report_failure(service.ref)
        scenario.registry.retire(service.ref)
    assert [entry["event"] for entry in logs] == ["service_registered", "service_suspended", "service_retired"]
    assert [entry["endpoint"] for entry in logs] == ["http://asr.example/invite"] * 3
    assert "hidden" not in str(logs)
    assert not any("agent_name" in entry for entry in logs)
