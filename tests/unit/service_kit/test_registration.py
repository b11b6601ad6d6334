"""The registration of a service with the manager, over real HTTP: at once, late, refused, removed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import aiohttp
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from manager_agent.session.events import ReadyOn
from scripts.repository import ROOT
from service_kit import RegistrationRefused, Service, SessionJob
from service_kit.pauses import pauses
from tests.manager_stand_in import ManagerStandIn
from tests.unit.waits import until
from tests.waiting import waiting_for

pytestmark = pytest.mark.unit


def a_service(**more: object) -> Service:
    service = Service("asr-service", type="ASR", version="2.1.0", **more)  # type: ignore[arg-type]

    @service.on_invite
    async def nothing(job: SessionJob) -> None: ...

    return service


@pytest.fixture
async def manager() -> AsyncIterator[ManagerStandIn]:
    async with ManagerStandIn() as manager:
        yield manager


async def test_a_service_registers_the_endpoint_it_listens_on_and_deregisters(manager: ManagerStandIn) -> None:
    async with a_service().serving(manager.settings()) as endpoint, aiohttp.ClientSession() as http:
        assert manager.registrations == [
            {
                "service_id": "asr-service",
                "endpoint": endpoint,
                "metadata": {"type": "ASR", "version": "2.1.0"},
                "ready_on": "signal",
                "lease_seconds": 30.0,
            }
        ]
        assert (await http.post(endpoint)).status == 401
        assert manager.removed == []
    assert manager.removed == ["asr-service"]


async def test_a_shared_service_registers_as_shared(manager: ManagerStandIn) -> None:
    async with a_service(shared=True).serving(manager.settings()):
        assert manager.registrations[0]["shared"] is True


async def test_a_service_can_advertise_another_endpoint(manager: ManagerStandIn) -> None:
    advertised = "https://asr.example.com/invites?for=a+b%20c&d"
    settings = manager.settings(service_endpoint=advertised)
    async with a_service(ready_on=ReadyOn.JOIN).serving(settings) as endpoint:
        assert endpoint == manager.registrations[0]["endpoint"] == advertised
        assert manager.registrations[0]["ready_on"] == "join"
    assert manager.removed_endpoints == [advertised], "no other instance of the same id is removed"


async def test_a_service_registers_once_the_manager_comes_up(manager: ManagerStandIn) -> None:
    settings = manager.settings()
    await manager.stop()
    with capture_logs() as logs:
        entered = asyncio.create_task(a_service().serving(settings).__aenter__())
        await until(lambda: [entry["event"] for entry in logs], lambda events: "not_registered_yet" in events)
    assert not entered.done()
    manager.answers = [503, 429]
    await manager.start(manager.port)
    async with waiting_for("the service to register", lambda: manager):
        await entered
    assert len(manager.registrations) == 3


@pytest.mark.parametrize("status", [307, 401, 404, 409, 422])
async def test_a_refused_registration_is_final_and_says_why(status: int, manager: ManagerStandIn) -> None:
    manager.answers = [status]
    with pytest.raises(RegistrationRefused, match=f"asr-service.*{status}.*the answer of a fake manager"):
        async with a_service().serving(manager.settings()):
            pytest.fail("it is not registered")
    assert len(manager.registrations) == 1


async def test_a_service_sends_its_api_key_with_every_call(manager: ManagerStandIn) -> None:
    """To register, to send heartbeats, to drain, to deregister."""
    service = a_service(lease=1.0)
    async with service.serving(manager.settings(session_manager_api_key=SecretStr("sm_key"))):
        await manager.until(lambda: bool(manager.beats))
        await service.drain()
    assert manager.removed == ["asr-service"]
    assert manager.proofs == {"Bearer sm_key"}


async def test_without_an_api_key_no_authorization_is_sent(manager: ManagerStandIn) -> None:
    async with a_service().serving(manager.settings()):
        pass
    assert manager.proofs == {None}


@pytest.mark.parametrize(("status", "said"), [(401, "to a key that the manager knows"), (403, "needs the scope")])
async def test_a_refused_api_key_names_the_setting_to_change(status: int, said: str, manager: ManagerStandIn) -> None:
    manager.answers = [status]
    with pytest.raises(RegistrationRefused, match=rf"{status} .*SESSION_MANAGER_API_KEY.*{said}") as raised:
        async with a_service().serving(manager.settings(session_manager_api_key=SecretStr("sm_key"))):
            pytest.fail("it is not registered")
    assert len(manager.registrations) == 1
    assert "sm_key" not in str(raised.value)


async def test_a_service_stops_although_the_manager_is_gone(manager: ManagerStandIn) -> None:
    async with a_service().serving(manager.settings()):
        await manager.stop()
    await manager.start()


async def test_a_service_without_a_handler_is_not_served(manager: ManagerStandIn) -> None:
    with pytest.raises(RuntimeError, match="no on_invite handler"):
        async with Service("asr-service", type="ASR").serving(manager.settings()):
            pytest.fail("it can do nothing")


async def test_a_service_port_in_use_is_an_error_at_once(manager: ManagerStandIn) -> None:
    with pytest.raises(OSError, match="address already in use"):
        async with a_service().serving(manager.settings(service_port=manager.port)):
            pytest.fail("there can be only one")
    assert manager.registrations == []


async def test_a_program_serves_until_sigterm_and_then_deregisters(manager: ManagerStandIn) -> None:
    program = await example(manager, "0")
    await until(lambda: manager.registrations)
    program.terminate()
    async with waiting_for("the program to end", lambda: manager):
        await program.communicate()
    assert program.returncode == 0
    assert manager.removed == ["asr-service"]


async def test_a_program_that_can_not_start_says_why(manager: ManagerStandIn) -> None:
    program = await example(manager, str(manager.port))
    async with waiting_for("the program to end", lambda: manager):
        output, _ = await program.communicate()
    assert program.returncode == 1
    assert output.decode().splitlines()[-1].startswith("asr-service: ")
    assert "address already in use" in output.decode()


async def example(manager: ManagerStandIn, port: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "examples.asr_service", "--port", port, "--manager", manager.url),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


def test_retry_pauses_grow_up_to_the_longest_and_are_spread() -> None:
    many = [[next(pause) for _ in range(8)] for pause in (pauses(0.25, 5.0) for _ in range(50))]
    for nth, full in enumerate([0.25, 0.5, 1, 2, 4, 5, 5, 5]):
        assert all(full * 2 / 3 <= taken[nth] <= full for taken in many)
        assert len({taken[nth] for taken in many}) > 1
