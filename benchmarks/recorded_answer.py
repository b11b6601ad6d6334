"""Measure what it costs that an answer is given only once the room's record has what it says.

    python -m benchmarks.recorded_answer [--trials 100] [--callers 1 8]

Each trial is a session with one service, which says that it is ready by HTTP, and then says so again. The first answer
waits until LiveKit has the change; the second one has nothing to record. Between the two, the floor is taken: the bare
client replaces the metadata of a room with as many bytes. Then it asks first which room has that name, as the session
manager does before it writes into a room whose name its client has chosen. Here the names are generated.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web
from livekit import api

from benchmarks.child import run
from benchmarks.command import BenchmarkCommand
from benchmarks.one_service import KEY, SECRET, SERVICE_ID, listening, registered
from benchmarks.result import Compared, Figure, FigureTable, Goal
from http_api.bootstrap import compose
from http_api.observability import logs
from http_api.server import serving
from http_api.settings.secret_values import secret_values
from http_api.settings.settings import DevSettings
from manager_agent.livekit.ffi import disable_log_capture
from manager_agent.messages import Invite
from scripts.free_ports import free_port
from scripts.livekit_build import find_or_build
from scripts.livekit_server import LiveKitServer

TRIALS, QUICK_TRIALS = 100, 3
CALLERS, QUICK_CALLERS = (1, 8), (1,)
FLOOR_ROOM = "floor"
FLOOR = "floor: UpdateRoomMetadata by the bare client"
LOOKED = "ListRooms, then UpdateRoomMetadata, by the bare client"
DIFFERENCE = "what recording adds"
GOAL = Goal(of=Compared.MORE, most=0.5)
METADATA_BYTES = 400
"""About the size of the public status of a session with one service."""


@dataclass(frozen=True, slots=True)
class AnswerTimes:
    """Seconds of each call, as its caller sees it."""

    recorded: float
    repeated: float
    floor: float
    looked: float


class AnswerBench:
    """One service and its caller. Invites arrive at `invites`."""

    def __init__(self, http: aiohttp.ClientSession, livekit: api.LiveKitAPI, invites: asyncio.Queue[Invite]) -> None:
        self._http, self._livekit, self._invites = http, livekit, invites

    async def trial(self, number: int) -> AnswerTimes:
        body = {"user_identity": f"user-{number}", "required_services": [SERVICE_ID]}
        headers = {"Prefer": "respond-async"}
        async with self._http.post("/api/v1/sessions", json=body, headers=headers) as answer:
            assert answer.status == 202, await answer.text()
        invite = await self._invites.get()
        recorded = await timed(lambda: self._say_ready(invite))
        floor = await timed(self._replace_metadata)
        looked = await timed(self._look_and_replace_metadata)
        repeated = await timed(lambda: self._say_ready(invite))
        async with self._http.delete(f"/api/v1/sessions/{invite.session.session_id}") as answer:
            assert answer.status == 200, await answer.text()
        return AnswerTimes(recorded, repeated, floor, looked)

    async def _say_ready(self, invite: Invite) -> None:
        path = f"/api/v1/sessions/{invite.session.session_id}/ready"
        headers = {"Authorization": f"Bearer {invite.token}"}
        async with self._http.post(path, json={"service_id": SERVICE_ID}, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            await answer.read()

    async def _look_and_replace_metadata(self) -> None:
        await self._livekit.room.list_rooms(api.ListRoomsRequest(names=[FLOOR_ROOM]))
        await self._replace_metadata()

    async def _replace_metadata(self) -> None:
        metadata = str(time.monotonic_ns()).ljust(METADATA_BYTES, ".")
        await self._livekit.room.update_room_metadata(api.UpdateRoomMetadataRequest(room=FLOOR_ROOM, metadata=metadata))


async def timed(call: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    await call()
    return time.perf_counter() - began


async def measure(count: int, callers: int, folder: Path) -> list[AnswerTimes]:
    port, invites = free_port(), asyncio.Queue[Invite]()
    webhooks = f"http://127.0.0.1:{port}/livekit/webhook"
    livekit = LiveKitServer(find_or_build(), port=free_port(), webhook_url=webhooks, log=folder / "livekit.log")

    async def receive(request: web.Request) -> web.Response:
        text = await request.text()
        if '"session_ended"' not in text:
            invites.put_nowait(Invite.model_validate_json(text))
        return web.Response()

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(livekit)
        endpoint = await stack.enter_async_context(listening(receive))
        settings = DevSettings(_env_file=None, LIVEKIT_SERVER_URL=livekit.url, server_port=port, log_level="error")  # type: ignore[call-arg]
        logs.configure(dev=False, level=settings.log_level, secrets=secret_values(settings))
        await stack.enter_async_context(serving(compose(settings)))
        client = await stack.enter_async_context(api.LiveKitAPI(livekit.http_url, KEY, SECRET))
        http = await stack.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{port}"))
        await registered(http, endpoint, ready_on="signal")
        await client.room.create_room(api.CreateRoomRequest(name=FLOOR_ROOM, empty_timeout=3_600))
        bench, numbers, trials = AnswerBench(http, client, invites), iter(range(count)), list[AnswerTimes]()

        async def call() -> None:
            for number in numbers:
                trials.append(await bench.trial(number))

        await asyncio.gather(*(call() for _ in range(callers)))
        return trials


def table(trials: list[AnswerTimes], callers: int) -> FigureTable:
    rows = {
        FLOOR: [one.floor for one in trials],
        LOOKED: [one.looked for one in trials],
        "ready again: nothing to record": [one.repeated for one in trials],
        "ready: recorded before the answer": [one.recorded for one in trials],
        DIFFERENCE: [one.recorded - one.repeated for one in trials],
    }
    figures = [
        Figure.of(
            "answer", name, [1e3 * s for s in seconds], "ms", floor=FLOOR, goal=GOAL if name == DIFFERENCE else None
        )
        for name, seconds in rows.items()
    ]
    return FigureTable(title=f"POST .../ready, {callers} at a time", figures=figures)


def main() -> None:
    command = BenchmarkCommand("recorded_answer", __doc__)
    command.add_size("trials", TRIALS, QUICK_TRIALS)
    command.add_size("callers", CALLERS, QUICK_CALLERS, "sessions at a time")
    asked = command.read()
    disable_log_capture()
    tables = []
    for callers in asked.callers:
        with tempfile.TemporaryDirectory() as folder:
            tables.append(table(run(measure(asked.trials, callers, Path(folder))), callers))
    command.finish(*tables)


if __name__ == "__main__":
    main()
