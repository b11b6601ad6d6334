"""A network that misbehaves, on one kind of connection at a time: what is acknowledged meanwhile holds, and sessions go
on afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from manager_agent.session.session import Session, SessionState
from scripts.free_ports import free_port
from tests.byte_proxy import CLEAN, ByteFault, ByteProxy, Closing
from tests.live.bots import Bot
from tests.live.conftest import Stack, StartServer, StartStack
from tests.live.humans import Human, ready_session
from tests.waiting import eventually, waiting_for

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

FAULTS = {
    "latency": ByteFault(latency=0.2),
    "jitter": ByteFault(jitter=0.3),
    "slow drip": ByteFault(latency=0.004, drip=64),
    "half close": ByteFault(closing=Closing.HALF_CLOSE),
    "reset": ByteFault(closing=Closing.REFUSE),
    "black hole": ByteFault(closing=Closing.BLACK_HOLE),
}
CUTS = ("reset", "black hole")
WHY_UNREADY = {
    ("API", "reset"): "LiveKit can't be reached",
    ("API", "black hole"): "LiveKit does not answer",
    ("signal", "reset"): "not registered",
    ("signal", "black hole"): "not registered",
}
CONNECTIONS = {"API": (b"POST /twirp",), "signal": (b"GET /agent", b"GET /rtc"), "webhook": ()}
"""How the connections of each kind begin. The signal connections are those of the agent and of its managers."""
PATIENT = {"ready_timeout": 200, "user_join_timeout": 200, "service_join_timeout": 150}
"""Seconds, far from what a test takes."""


@dataclass(slots=True)
class FaultySite:
    """An API whose connections of one kind can be made faulty. Services and users have a network without faults."""

    stack: Stack
    proxy: ByteProxy

    def begin(self, fault: ByteFault) -> None:
        self.proxy.set(fault)
        if fault.closing is Closing.REFUSE:
            self.proxy.reset_all()

    async def readiness(self, status: int) -> str:
        """What /readyz says, once it has this status."""
        async with waiting_for(f"/readyz to be {status}", self.stack.sessions):
            while True:
                async with self.stack.http.get("/readyz") as answer:
                    if answer.status == status:
                        return await answer.text()
                await asyncio.sleep(0.05)


@pytest.fixture
async def faulty(
    request: pytest.FixtureRequest, start_server: StartServer, start_stack: StartStack
) -> AsyncIterator[FaultySite]:
    connection, port = request.param, free_port()
    async with AsyncExitStack() as proxies:
        webhooks = ByteProxy(port)
        if connection == "webhook":
            await proxies.enter_async_context(webhooks)
        site = await start_server(port, f"http://127.0.0.1:{getattr(webhooks, 'port', port)}/livekit/webhook")
        to_livekit = ByteProxy(site.livekit.port, only=CONNECTIONS[connection])
        if connection != "webhook":
            await proxies.enter_async_context(to_livekit)
        url = site.livekit.url if connection == "webhook" else f"ws://127.0.0.1:{to_livekit.port}"
        addresses = {"LIVEKIT_SERVER_URL": url, "LIVEKIT_PUBLIC_URL": site.livekit.url}
        stack = await start_stack(site, **addresses, **PATIENT)
        yield FaultySite(stack, webhooks if connection == "webhook" else to_livekit)
        (webhooks if connection == "webhook" else to_livekit).set(CLEAN)
        await stack.stop()


@dataclass(slots=True)
class Acknowledged:
    """What was answered while there was a fault, and must hold afterwards."""

    stack: Stack
    opened: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    said: list[tuple[str, Bot]] = field(default_factory=list)
    refusals: list[dict[str, Any]] = field(default_factory=list)

    async def open(self, user: str) -> None:
        body = {"user_identity": user, "required_services": []}
        async with self.stack.http.post("/api/v1/sessions", json=body, headers={"Prefer": "wait=5"}) as answer:
            view = await answer.json()
            if answer.status in (201, 202):
                self.opened.append(view["session_id"])
            else:
                self._refused(answer.status, answer.headers.get("Retry-After", ""), view)

    async def close(self, session_id: str) -> None:
        async with self.stack.http.delete(f"/api/v1/sessions/{session_id}") as answer:
            if answer.status == 200:
                self.closed.append(session_id)
            else:
                self._refused(answer.status, answer.headers.get("Retry-After", ""), await answer.json())

    async def say_ready(self, bot: Bot) -> None:
        answer = await bot.say_by_http(self.stack.http)
        if answer.status == 200:
            self.said.append((bot.invites[0].session.session_id, bot))
        else:
            self._refused(answer.status, answer.headers.get("Retry-After", ""), await answer.json())

    def _refused(self, status: int, retry_after: str, problem: dict[str, Any]) -> None:
        assert (status, int(retry_after) > 0) == (503, True), problem
        self.refusals.append(problem)

    async def holds(self) -> None:
        for session_id in self.opened:
            await self.stack.until(session_id, lambda session: session.state is SessionState.READY)
        for session_id, _ in self.said:
            await self.stack.until(session_id, lambda session: session.state is SessionState.READY)
        sessions = {session.session_id: session for session in self.stack.store.list()}
        assert {sessions[one].room_name for one in self.opened} <= set(await self.stack.rooms())
        assert {sessions[one].over for one in self.closed} <= {True}
        # A room can come back while its manager is joining, until that has left.
        closed = {sessions[one].room_name for one in self.closed}
        await eventually("the closed rooms to be gone", self.stack.rooms, lambda rooms: closed.isdisjoint(rooms))


async def opened_by_a_patient_client(stack: Stack) -> dict[str, Any]:
    """A session of a client that asks again after a 503, as told by Retry-After."""
    body = {"user_identity": "fred", "required_services": []}
    async with waiting_for("a session after the fault", stack.sessions):
        while True:
            async with stack.http.post("/api/v1/sessions", json=body) as answer:
                view: dict[str, Any] = await answer.json()
                if answer.status == 201:
                    return view
                assert answer.status == 503, view
            await asyncio.sleep(int(answer.headers["Retry-After"]))


def manager_is_here(session: Session) -> bool:
    return session.manager.presence.here


def manager_now(stack: Stack, session: dict[str, Any]) -> str | None:
    """The identity of its manager. LiveKit may show one whose connection was cut until another one replaces it."""
    return stack.store.get(session["session_id"]).manager.identity


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("faulty", CONNECTIONS, indirect=True)
async def test_what_is_acknowledged_during_a_fault_holds_and_sessions_go_on_after_it(
    faulty: FaultySite, name: str, request: pytest.FixtureRequest
) -> None:
    stack, connection = faulty.stack, request.node.callspec.params["faulty"]
    in_call, late_bot = await stack.bot("bot-call"), await stack.bot("bot-late", ready_on="signal")
    active = await ready_session(stack, in_call, user_identity="anna")
    user = Human()
    await user.join(active)
    await stack.until(active["session_id"], lambda session: session.state is SessionState.ACTIVE)
    waiting = await stack.request(late_bot.service_id, user_identity="wanda")
    await late_bot.invited()
    doomed = await stack.request(user_identity="dora", prefer="wait=20")

    faulty.begin(FAULTS[name])
    if name in CUTS and connection != "webhook":
        assert WHY_UNREADY[connection, name] in await faulty.readiness(503)
    acknowledged = Acknowledged(stack)
    await late_bot.join()
    await asyncio.gather(
        acknowledged.open("olga"), acknowledged.close(doomed["session_id"]), acknowledged.say_ready(late_bot)
    )
    if name in CUTS and connection == "API":
        assert len(acknowledged.refusals) >= 2
    if name not in CUTS or connection == "webhook":
        assert acknowledged.refusals == []
        assert "ok" in await faulty.readiness(200)

    faulty.begin(CLEAN)
    await faulty.readiness(200)
    await acknowledged.holds()
    fresh = await opened_by_a_patient_client(stack)
    for session in (active, waiting, fresh):
        await stack.until(session["session_id"], manager_is_here)
    here = stack.store.get(active["session_id"])
    assert (here.state, here.services[0].attempt, len(in_call.invites)) == (SessionState.ACTIVE, 1, 1)
    assert not user.out.is_set()
    assert (await in_call.say_by_rpc('{"type": "progress"}', to=lambda: manager_now(stack, active)))["ok"]
    await late_bot.say_by_http(stack.http)
    await stack.until(waiting["session_id"], lambda session: session.state is SessionState.READY)
    async with stack.http.delete(f"/api/v1/sessions/{active['session_id']}") as answer:
        assert answer.status == 200
    await in_call.told_goodbye()
    await user.is_out()


async def test_a_far_livekit_makes_everything_slower_and_no_more(
    start_server: StartServer, start_stack: StartStack
) -> None:
    """Each of its answers takes more than a second and a half, from the start of the process on."""
    port = free_port()
    site = await start_server(port, f"http://127.0.0.1:{port}/livekit/webhook")
    async with ByteProxy(site.livekit.port) as far:
        far.set(ByteFault(latency=0.8))
        addresses = {"LIVEKIT_SERVER_URL": f"ws://127.0.0.1:{far.port}", "LIVEKIT_PUBLIC_URL": site.livekit.url}
        stack = await start_stack(site, **addresses, **PATIENT)
        bot = await stack.bot("bot-near")
        session = await ready_session(stack, bot, user_identity="anna")
        await stack.until(session["session_id"], manager_is_here)
        async with stack.http.delete(f"/api/v1/sessions/{session['session_id']}") as answer:
            assert answer.status == 200
        await bot.told_goodbye()
        await eventually("the room to be gone", stack.rooms, lambda rooms: session["room_name"] not in rooms)
        await stack.stop()
