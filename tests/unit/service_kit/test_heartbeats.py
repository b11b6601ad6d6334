"""A service stays registered: heartbeats, a manager that forgets, and the signals that stop a program."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from yarl import URL

from http_api.connections import close_server
from scripts.repository import ROOT
from service_kit import Service, SessionJob
from service_kit.conformance.scenario import session_ended
from service_kit.registration import Registration
from tests.manager_stand_in import KEY, SECRET, ManagerStandIn, invite, invited_session
from tests.waiting import waiting_for

pytestmark = pytest.mark.unit

LEASE = 1.0
"""The shortest lease: a heartbeat every third of a second."""


def a_service(**more: Any) -> Service:
    service = Service("asr-service", type="ASR", **{"lease": LEASE, "grace": 0.05} | more)

    @service.on_invite
    async def stay(job: SessionJob) -> None:
        job.accept()
        await job.ended()

    return service


@pytest.fixture
async def manager() -> AsyncIterator[ManagerStandIn]:
    async with ManagerStandIn() as manager:
        yield manager


async def test_a_registration_has_capacity_lease_and_labels(manager: ManagerStandIn) -> None:
    async with a_service(capacity=4, labels={"language": "de"}).serving(manager.settings()):
        entry = manager.registrations[0]
    assert (entry["lease_seconds"], entry["capacity"], entry["labels"]) == (LEASE, 4, {"language": "de"})


async def test_heartbeats_come_within_a_third_of_the_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = list[float]()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 20:
            raise asyncio.CancelledError

    async def beat(_: Registration) -> None: ...

    entry = {"service_id": "asr-service", "endpoint": "http://127.0.0.1:9001/"}
    async with aiohttp.ClientSession() as http:
        registration = Registration(http, URL("http://127.0.0.1:8080/api/v1/microservices"), entry, dict)
        monkeypatch.setattr(Registration, "beat", beat)
        monkeypatch.setattr(asyncio, "sleep", sleep)
        with suppress(asyncio.CancelledError):
            await registration.keep(LEASE)
        monkeypatch.undo()
    assert len(pauses) == 20
    assert all(LEASE * 2 / 9 <= pause <= LEASE / 3 for pause in pauses)


async def test_heartbeats_have_the_load(manager: ManagerStandIn) -> None:
    async with a_service(capacity=4).serving(manager.settings()) as endpoint:
        await manager.post(endpoint, invite())
        await manager.until(lambda: len(manager.beats) >= 3)
    assert manager.beats[:3] == [{"draining": False, "load": 0.25}] * 3
    assert set(manager.beat_endpoints) == {endpoint}


@pytest.mark.parametrize(
    ("shown", "told"), [(0.5, 0.5), (-1, 0.0), (7, 1.0), (float("nan"), None), ("busy", None), (ValueError(), None)]
)
async def test_a_service_can_report_a_load_of_its_own(shown: Any, told: float | None, manager: ManagerStandIn) -> None:
    service = a_service(capacity=4)

    @service.load
    def gauge() -> float:
        if isinstance(shown, Exception):
            raise shown
        return shown  # type: ignore[no-any-return]

    async with service.serving(manager.settings()):
        await service.drain()
    assert manager.beats[0] == {"draining": True} | ({} if told is None else {"load": told})


async def test_heartbeats_go_on_after_an_internal_error(
    manager: ManagerStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat, faults = Registration.beat, [RuntimeError("can't start new thread")]

    async def failing(self: Registration) -> None:
        if faults:
            raise faults.pop()
        await beat(self)

    monkeypatch.setattr(Registration, "beat", failing)
    async with a_service().serving(manager.settings()):
        await manager.until(lambda: bool(manager.beats))
    assert not faults


async def test_a_service_registers_again_when_the_manager_does_not_know_it(manager: ManagerStandIn) -> None:
    manager.beat_answers = [200, 404]
    async with a_service().serving(manager.settings()):
        await manager.until(lambda: len(manager.registrations) == 2 and len(manager.beats) >= 3)
    assert manager.registrations[0] == manager.registrations[1]


async def test_a_service_registers_again_when_the_manager_is_back(manager: ManagerStandIn) -> None:
    async with a_service().serving(manager.settings()):
        await manager.stop()
        manager.beat_answers = [503, 404]
        manager.answers = [503, 422]  # nor does a refusal stop a service that has jobs
        await manager.start(manager.port)
        manager_knows_it = 1 + 2
        manager.beat_answers += [404, 404]
        await manager.until(lambda: len(manager.registrations) > manager_knows_it)


async def test_a_service_does_not_displace_another_instance_of_its_id(manager: ManagerStandIn) -> None:
    manager.beat_answers = [409] * 100
    async with a_service().serving(manager.settings()):
        await manager.until(lambda: len(manager.beats) >= 2)
    assert len(manager.registrations) == 1


async def test_without_a_lease_only_draining_sends_a_heartbeat(manager: ManagerStandIn) -> None:
    service = a_service(lease=None)
    async with service.serving(manager.settings()):
        assert await service.drain()
    assert "lease_seconds" not in manager.registrations[0]
    assert manager.beats == [{"draining": True}]


async def test_a_draining_service_does_not_register_again(manager: ManagerStandIn) -> None:
    manager.beat_answers = [404]
    service = a_service()
    async with service.serving(manager.settings()):
        await service.drain()
    assert len(manager.registrations) == 1


@pytest.mark.parametrize("wrong", [{"capacity": 0}, {"lease": 0.5}])
def test_a_service_with_invalid_arguments_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"capacity|lease"):
        a_service(**wrong)


# --- signals ----------------------------------------------------------------------------------------


class Program:
    """examples.llm_service in a process of its own. It can't join the room of the invites here, so to keep a session
    job it is sent to an address that does not answer."""

    def __init__(self, manager: ManagerStandIn, process: asyncio.subprocess.Process) -> None:
        self.manager, self.process = manager, process

    @property
    def endpoint(self) -> str:
        return str(self.manager.registrations[0]["endpoint"])

    async def ends(self) -> int:
        async with waiting_for("the program to end", lambda: self.manager):
            await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode


@pytest.fixture
async def program(manager: ManagerStandIn) -> AsyncIterator[Program]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "examples.asr_service", "--manager", manager.url, "--drain-timeout", "15"),
        cwd=ROOT,
        env={"INVITE_API_KEY": KEY, "INVITE_API_SECRET": SECRET},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with waiting_for("the program to register", lambda: manager):
        await manager.until(lambda: bool(manager.registrations))
    yield Program(manager, process)
    if process.returncode is None:
        process.kill()
        await process.communicate()


@pytest.fixture
async def nowhere() -> AsyncIterator[str]:
    """A server that accepts connections and sends nothing: joining lasts as long as join_timeout."""
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    await close_server(server)
    for writer in writers:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


async def test_the_first_sigterm_drains_the_service(program: Program, nowhere: str) -> None:
    manager, sent = program.manager, invite(server_url=nowhere)
    assert await manager.post(program.endpoint, sent) == 200
    program.process.send_signal(signal.SIGTERM)
    await manager.until(lambda: {"draining": True} in manager.beats)
    other = invite(id="inv_2", session=invited_session("session-2"))
    assert await manager.post(program.endpoint, other) == 503
    assert manager.removed == []
    assert await manager.post(program.endpoint, session_ended(sent)) == 200
    assert await program.ends() == 0
    assert manager.removed == ["asr-service"]


async def test_the_second_sigterm_stops_the_service_at_once(program: Program, nowhere: str) -> None:
    manager = program.manager
    assert await manager.post(program.endpoint, invite(server_url=nowhere)) == 200
    program.process.send_signal(signal.SIGTERM)
    await manager.until(lambda: {"draining": True} in manager.beats)
    program.process.send_signal(signal.SIGTERM)
    await manager.until(lambda: manager.removed == ["asr-service"])
    assert await program.ends() == 0
