"""The designs that room_cost.py compares: ways to have a manager in every room, one per process.

    python -m benchmarks.designs thread ws://127.0.0.1:7880

Each manager is hidden, publishes nothing and subscribes to nothing: it is only present.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from livekit import api, rtc

from benchmarks.child import commands
from http_api.bootstrap import compose
from http_api.observability import logs
from http_api.server import serving
from http_api.settings.settings import DevSettings
from manager_agent.livekit.ffi import disable_log_capture
from manager_agent.livekit.join_slots import JOINS_AT_ONCE
from manager_agent.session.session import Limits, Session, User

if TYPE_CHECKING:
    from livekit.agents import AgentServer, JobContext

KEY, SECRET = "devkey", "secret"
AGENT_NAME = "benchmark"
LONG = Limits(user_join_timeout=3_600)
"""No user joins these rooms, and no session may end for that reason during the measurement."""

Entrypoint = Callable[["JobContext"], Awaitable[None]]
UNSUBSCRIBED = rtc.RoomOptions(auto_subscribe=False)
OPENRTC_SESSIONS = 100_000
UNBOUNDED = sys.maxsize

CLOSE = "close "
"""Before the name of a room that is to be closed."""


@dataclass(frozen=True, slots=True)
class DesignRooms:
    open: Callable[[str], Awaitable[None]]
    """Opens the room of this name, with a manager in it or about to join."""
    close: Callable[[str], Awaitable[object]]


def deleting(livekit: api.LiveKitAPI) -> Callable[[str], Awaitable[object]]:
    """Closes a room by deleting it."""
    return lambda name: livekit.room.delete_room(api.DeleteRoomRequest(room=name))


@asynccontextmanager
async def agents(executor: str, url: str) -> AsyncIterator[DesignRooms]:
    """Unmodified livekit-agents, except that it always reports zero load, because the benchmark itself causes the
    load."""
    from livekit.agents import AgentServer, JobExecutorType  # not in the memory of other designs

    async with dispatched(AgentServer, enter, url, job_executor_type=JobExecutorType[executor]) as rooms:
        yield rooms


@asynccontextmanager
async def openrtc(url: str) -> AsyncIterator[DesignRooms]:
    """The coroutine pool of openrtc: livekit-agents with all jobs on one loop (benchmarks/peers.py installs it)."""
    module = importlib.import_module("openrtc.runtime.coroutine_server")
    server = module._CoroutineAgentServer
    async with dispatched(server, enter_and_stay, url, max_concurrent_sessions=OPENRTC_SESSIONS) as rooms:
        yield rooms


@asynccontextmanager
async def dispatched(
    server_type: Callable[..., AgentServer], entrypoint: Entrypoint, url: str, **options: Any
) -> AsyncIterator[DesignRooms]:
    """An agent server of livekit-agents, whose jobs are dispatched by LiveKit."""
    from livekit.agents import WorkerPermissions

    server = server_type(
        load_fnc=lambda: 0.0,
        permissions=WorkerPermissions(can_publish=False, hidden=True),
        ws_url=url,
        api_key=KEY,
        api_secret=SECRET,
        host="127.0.0.1",
        port=0,
        **options,
    )
    server.rtc_session(entrypoint, agent_name=AGENT_NAME)
    registered = asyncio.Event()
    server.on("worker_registered", lambda *_: registered.set())
    running = asyncio.create_task(server.run())
    async with api.LiveKitAPI(url, KEY, SECRET) as livekit:
        await registered.wait()
        dispatch = api.RoomAgentDispatch(agent_name=AGENT_NAME)

        async def open_room(name: str) -> None:
            await livekit.room.create_room(api.CreateRoomRequest(name=name, agents=[dispatch]))

        yield DesignRooms(open_room, deleting(livekit))
    running.cancel()


async def enter(context: JobContext) -> None:
    """The entrypoint. The job lasts until the room closes."""
    from livekit.agents import AutoSubscribe

    await context.connect(auto_subscribe=AutoSubscribe.SUBSCRIBE_NONE)


async def enter_and_stay(context: JobContext) -> None:
    """The entrypoint where a job ends with it."""
    await enter(context)
    await asyncio.Event().wait()


@asynccontextmanager
async def bare(
    url: str, options: rtc.RoomOptions = UNSUBSCRIBED, at_once: int = UNBOUNDED, *, answers_rpcs: bool = False
) -> AsyncIterator[DesignRooms]:
    """The unmodified SDK with all rooms on one event loop. It knows its rooms in advance, so nothing is dispatched.
    `at_once`: how many it joins at the same time."""
    rooms: list[rtc.Room] = []
    slots = asyncio.Semaphore(at_once)
    async with api.LiveKitAPI(url, KEY, SECRET) as livekit:

        async def open_room(name: str) -> None:
            await livekit.room.create_room(api.CreateRoomRequest(name=name))
            grants = api.VideoGrants(room_join=True, room=name, hidden=True, can_publish=False)
            token = api.AccessToken(KEY, SECRET).with_identity("manager").with_kind("agent").with_grants(grants)
            rooms.append(room := rtc.Room())
            async with slots:
                await room.connect(url, token.to_jwt(), options)
            if answers_rpcs:
                room.local_participant.register_rpc_method("ping", pong)

        yield DesignRooms(open_room, deleting(livekit))


async def pong(_: rtc.RpcInvocationData) -> str:
    return "pong"


@asynccontextmanager
async def lean(url: str, *, answers_rpcs: bool = False) -> AsyncIterator[DesignRooms]:
    """The same at its best: without the capture of the SDK's log, with addresses gathered once, and with as many joins
    at a time as the session manager has. Of hundreds at once, most time out. `answers_rpcs`: as the session manager
    does. The SDK then opens a second connection at once, which the first call would otherwise wait for."""
    disable_log_capture()
    gathered_once = rtc.RtcConfiguration(continual_gathering_policy=rtc.ContinualGatheringPolicy.GATHER_ONCE)
    options = rtc.RoomOptions(auto_subscribe=False, rtc_config=gathered_once)
    async with bare(url, options, JOINS_AT_ONCE, answers_rpcs=answers_rpcs) as rooms:
        yield rooms


@asynccontextmanager
async def ours(url: str) -> AsyncIterator[DesignRooms]:
    """This project, all of it: sessions without required services, each with its room and its manager. It takes
    LiveKit's webhooks at SERVER_PORT."""
    settings = DevSettings(_env_file=None, LIVEKIT_SERVER_URL=url)  # type: ignore[call-arg]
    disable_log_capture()
    components = compose(settings)

    async def open_room(name: str) -> None:
        session = Session(f"ses_{name}", name, User("user"), components.clock(), limits=LONG)
        await components.orchestrator.open(session)

    async def close_room(name: str) -> None:
        await components.orchestrator.close(f"ses_{name}")

    async with serving(components):
        while not (components.agent.registered and components.acting.may_act):
            await asyncio.sleep(0.01)
        gc.collect()
        gc.freeze()  # as http_api/server.py does
        yield DesignRooms(open_room, close_room)


DESIGNS: dict[str, Callable[[str], AbstractAsyncContextManager[DesignRooms]]] = {
    "process": partial(agents, "PROCESS"),
    "thread": partial(agents, "THREAD"),
    "openrtc": openrtc,
    "bare": bare,
    "lean": lean,
    "answering": partial(lean, answers_rpcs=True),
    "ours": ours,
}


async def serve(design: str, url: str) -> None:
    """Open a room for every name on stdin, or close it, concurrently."""
    async with DESIGNS[design](url) as rooms, asyncio.TaskGroup() as doing:
        async for line in commands():
            closed = line.removeprefix(CLOSE)
            doing.create_task(attempt(rooms.open, line) if closed == line else attempt(rooms.close, closed))


async def attempt(act: Callable[[str], Awaitable[object]], name: str) -> None:
    """Open or close a room. On failure log the reason; the parent sees a room without a manager, or one that stays."""
    try:
        await act(name)
    except Exception:
        logging.exception("room %s", name)


if __name__ == "__main__":
    logs.configure(dev=False, level="info", secrets=())
    asyncio.run(serve(*sys.argv[1:]))
