"""Measure how soon a client that waits for a session has its answer, once the last service says that it is ready.

    python -m benchmarks.signals

A service in the room says so by data message, RPC, attribute, or HTTP. The floor of each is what carries it: a bare
packet until another participant has it, a bare RPC and a bare request until they are answered, and a bare attribute
change until another participant sees it. Signals and floors take turns. The service runs in this process, the session
manager and the other participant in processes of their own.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import aiohttp
from aiohttp import web
from livekit import api, rtc

from benchmarks.bare_participant import ANSWER
from benchmarks.child import Child, run, running
from benchmarks.command import BenchmarkCommand
from benchmarks.one_service import KEY, SECRET, SERVICE_ID, TIMEOUT, environment, listening, registered
from benchmarks.result import Compared, Figure, FigureTable, Goal, WorkCheck
from benchmarks.room_flood import token
from manager_agent.livekit.ffi import disable_log_capture
from manager_agent.messages import STATE_ATTRIBUTE, TOPIC, Invite
from scripts.free_ports import free_port
from scripts.livekit_build import find_or_build
from scripts.livekit_server import LiveKitServer

TRIALS, QUICK_TRIALS = 25, 2
SETTLE, QUICK_SETTLE = 0.3, 0.1
"""Seconds after the manager is in the room: what it has to record of its coming is recorded."""
JOIN_EVENT = 3.0
"""Seconds after which the manager's SDK has told of the service that joined with it. A data packet that arrives sooner
has no sender, so a service repeats it until it is acknowledged; here it is sent once."""
POLL_INTERVAL = 0.02
OPTIONS = rtc.RoomOptions(auto_subscribe=False)
FLOOR_ROOM, OTHER = "floor", "other"
DATA, RPC, ATTRIBUTE, HTTP = "data message", "RPC", "attribute", "HTTP /ready"
KINDS = (DATA, RPC, ATTRIBUTE, HTTP)
BARE, OURS = "bare", "session manager, until the client has its answer"
GOAL = Goal(of=Compared.MORE, most=3)


class BareSignals:
    """The floor: a participant of a room that another one is in."""

    def __init__(self, room: rtc.Room, other: Child, http: aiohttp.ClientSession, url: str) -> None:
        self._room, self._other, self._http, self._url = room, other, http, url
        self._numbers = count()

    async def send(self, kind: str) -> float:
        """Returns the seconds that it took."""
        me, began = self._room.local_participant, time.time()
        payload = json.dumps({"type": "ready"})
        if kind == DATA:
            await me.publish_data(payload, topic=TOPIC, destination_identities=[OTHER])
            return await self._seen("data") - began
        if kind == ATTRIBUTE:
            await me.set_attributes({STATE_ATTRIBUTE: str(next(self._numbers))})
            return await self._seen("attribute") - began
        if kind == RPC:
            answer = await me.perform_rpc(destination_identity=OTHER, method=TOPIC, payload=payload)
        else:
            async with self._http.post(self._url, json={"service_id": SERVICE_ID}) as response:
                answer = await response.text()
        assert answer == ANSWER
        return time.time() - began

    async def _seen(self, what: str) -> float:
        seen, instant = (await self._other.receive()).split(" ")
        assert seen == what, seen
        return float(instant)


class SessionSignals:
    """A session with one service, which is in the room with the manager when it says that it is ready."""

    def __init__(self, http: aiohttp.ClientSession, livekit: api.LiveKitAPI, settle: float) -> None:
        self._http, self._livekit, self._settle = http, livekit, settle
        self._invites = asyncio.Queue[Invite]()

    async def receive(self, request: web.Request) -> web.Response:
        text = await request.text()
        if '"session_ended"' not in text:
            self._invites.put_nowait(Invite.model_validate_json(text))
        return web.Response()

    async def send(self, kind: str) -> float:
        """Returns the seconds from the signal until the client has its answer."""
        answered = asyncio.create_task(self._answered_at())
        invite, room = await self._invites.get(), rtc.Room()
        try:
            await room.connect(invite.server_url, invite.token or "", OPTIONS)
            await self._until_managed(invite)
            await asyncio.sleep(max(self._settle, JOIN_EVENT) if kind == DATA else self._settle)
            assert not answered.done()
            began = time.time()
            await self._say_ready(kind, room, invite)
            return await answered - began
        finally:
            answered.cancel()
            await room.disconnect()
            async with self._http.delete(f"/api/v1/sessions/{invite.session.session_id}", raise_for_status=True):
                pass

    async def _answered_at(self) -> float:
        body = {"user_identity": "alice", "required_services": [SERVICE_ID]}
        async with self._http.post("/api/v1/sessions", json=body, raise_for_status=True) as answer:
            assert (await answer.json())["access_token"]
        return time.time()

    async def _until_managed(self, invite: Invite) -> None:
        request = api.ListParticipantsRequest(room=invite.session.room_name)
        while True:
            listed = (await self._livekit.room.list_participants(request)).participants
            active = {one.identity for one in listed if one.state == api.ParticipantInfo.ACTIVE}
            if invite.manager_identity in active:
                return
            await asyncio.sleep(POLL_INTERVAL)

    async def _say_ready(self, kind: str, room: rtc.Room, invite: Invite) -> None:
        me, manager = room.local_participant, invite.manager_identity or ""
        if kind == DATA:
            message = {"type": "ready", "service_id": SERVICE_ID, "invite_id": invite.id}
            await me.publish_data(json.dumps(message), topic=TOPIC, destination_identities=[manager])
        elif kind == ATTRIBUTE:
            await me.set_attributes({STATE_ATTRIBUTE: "ready"})
        elif kind == RPC:
            await me.perform_rpc(destination_identity=manager, method=TOPIC, payload=json.dumps({"type": "ready"}))
        else:
            path = f"/api/v1/sessions/{invite.session.session_id}/ready"
            headers = {"Authorization": f"Bearer {invite.token}"}
            async with self._http.post(path, json={"service_id": SERVICE_ID}, headers=headers, raise_for_status=True):
                pass


@dataclass(frozen=True, slots=True)
class SignalTimes:
    kind: str
    bare_ms: list[float] = field(default_factory=list)
    ours_ms: list[float] = field(default_factory=list)


async def measure(trials: int, settle: float, folder: Path) -> Sequence[SignalTimes]:
    times = [SignalTimes(kind) for kind in KINDS]
    async with both(settle, folder) as (bare, session):
        for number in range(trials + 1):
            for one in times:
                ways: tuple[tuple[Callable[[str], Awaitable[float]], list[float]], ...] = (
                    (bare.send, one.bare_ms),
                    (session.send, one.ours_ms),
                )
                for send, ms in ways:
                    async with asyncio.timeout(TIMEOUT):
                        seconds = await send(one.kind)
                    if number:  # the first opens connections
                        ms.append(1_000 * seconds)
    return times


@asynccontextmanager
async def both(settle: float, folder: Path) -> AsyncIterator[tuple[BareSignals, SessionSignals]]:
    port, bare_port = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    log, webhooks = folder / "livekit.log", f"{url}/livekit/webhook"
    async with AsyncExitStack() as stack:
        livekit_server = LiveKitServer(find_or_build(), port=free_port(), webhook_url=webhooks, log=log)
        server = await stack.enter_async_context(livekit_server)
        settings = environment(server.url, port)
        await stack.enter_async_context(running("http_api", "--dev", log=folder / "api.log", environment=settings))
        livekit = await stack.enter_async_context(api.LiveKitAPI(server.http_url, KEY, SECRET))
        await livekit.room.create_room(api.CreateRoomRequest(name=FLOOR_ROOM))
        arguments = (server.url, token(FLOOR_ROOM, OTHER), str(bare_port))
        other = await stack.enter_async_context(
            running("benchmarks.bare_participant", *arguments, log=folder / "bare.log")
        )
        await other.ready()
        http = await stack.enter_async_context(aiohttp.ClientSession(url))
        room = rtc.Room()
        await room.connect(server.url, token(FLOOR_ROOM, "service"), OPTIONS)
        stack.push_async_callback(room.disconnect)
        session = SessionSignals(http, livekit, settle)
        endpoint = await stack.enter_async_context(listening(session.receive))
        await registered(http, endpoint, ready_on="signal")
        yield BareSignals(room, other, http, f"http://127.0.0.1:{bare_port}/ready"), session


def table(times: Sequence[SignalTimes]) -> FigureTable:
    figures = []
    for one in times:
        figures.append(Figure.of(one.kind, BARE, one.bare_ms, "ms"))
        figures.append(Figure.of(one.kind, OURS, one.ours_ms, "ms", floor=BARE, goal=GOAL))
    return FigureTable(title="From the signal of a service", figures=figures)


def main() -> None:
    command = BenchmarkCommand("signals", __doc__)
    command.add_size("trials", TRIALS, QUICK_TRIALS, "signals of each kind")
    command.add_size("settle", SETTLE, QUICK_SETTLE, "seconds before a signal")
    asked = command.read()
    disable_log_capture()
    with tempfile.TemporaryDirectory() as folder:
        times = run(measure(asked.trials, asked.settle, Path(folder)))
    is_whole = all(len(one.ours_ms) == len(one.bare_ms) == asked.trials for one in times)
    command.finish(table(times), checks=[WorkCheck("each signal was followed by an answer", is_whole)])


if __name__ == "__main__":
    main()
