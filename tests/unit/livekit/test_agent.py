"""The manager agent takes jobs while it runs, ends in time, and leaves no connection open, also if its AgentServer does
not close."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import aiohttp
import pytest
from livekit.agents.utils.http_server import HttpServer

from manager_agent.acting_gate import ActingGate
from manager_agent.clock import Clock
from manager_agent.livekit import agent
from manager_agent.livekit.agent import ManagerAgent
from manager_agent.livekit.livekit_clock import LiveKitClock
from manager_agent.livekit.server_api import Rooms
from manager_agent.messages import DispatchMetadata
from manager_agent.session import events as ev
from manager_agent.session.identities import Identities
from manager_agent.session.session import Session
from manager_agent.store.memory import MemoryStore
from manager_agent.store.recording import Recording
from tests.always_acting import always_acting
from tests.unit import sessions as given
from tests.unit.virtual_time import VirtualClock
from tests.unit.waits import never, until

pytestmark = pytest.mark.unit

URL = "ws://127.0.0.1:1"


class StuckServer:
    """An AgentServer that waits for LiveKit to assign a job while it closes."""

    def __init__(self) -> None:
        self._http_session = aiohttp.ClientSession()
        self._http_server = HttpServer("127.0.0.1", 0)
        self.is_closing = False

    async def run(self) -> None:
        await self._http_server.start()
        await never()

    async def aclose(self) -> None:
        self.is_closing = True
        await never()


class HeldRoom:
    """In place of the Watcher: in the room until the agent leaves."""

    watched: ClassVar[list[tuple[str, str, str]]] = []
    """The identity of each manager, with the URL and the token with which it joins."""

    def __init__(self, *, identity: str, **_: Any) -> None:
        self._identity = identity

    async def watch(self, url: str, token: str) -> None:
        self.watched.append((self._identity, url, token))
        await never()


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> list[StuckServer]:
    """Those that the agent has made."""
    made: list[StuckServer] = []

    def make_server(**_: Any) -> StuckServer:
        made.append(StuckServer())
        return made[-1]

    monkeypatch.setattr(agent, "_imported_make_server", lambda: make_server)
    monkeypatch.setattr(agent, "CLOSE_TIMEOUT", 0.01)
    return made


def an_agent(store: MemoryStore, acting: ActingGate | None = None, clock: Clock = time.time) -> ManagerAgent:
    livekit_clock = LiveKitClock(clock)
    rooms = Rooms(
        url=URL, services_url=URL, api_key="key", api_secret="s" * 32, agent_name="manager", deployment="default",
        livekit_clock=livekit_clock,
    )  # fmt: skip
    return ManagerAgent(
        url=URL,
        api_key="key",
        api_secret="s" * 32,
        agent_name="session-manager",
        store=store,
        identities=Identities("secret"),
        recording=Recording(store),
        rooms=rooms,
        acting=acting or always_acting(),
        clock=clock,
        livekit_clock=livekit_clock,
    )


async def test_an_agent_server_that_does_not_close_is_left_without_a_connection(servers: list[StuckServer]) -> None:
    manager = an_agent(MemoryStore(time.time))
    await manager.start()
    [server] = await until(lambda: servers, lambda started: bool(started and started[0]._http_server.port))
    await manager.aclose()
    assert server.is_closing
    assert server._http_session.closed
    assert server._http_server._runner is None, "its health page listens no more"
    await until(lambda: "manager agent" not in {task.get_name() for task in asyncio.all_tasks()})


async def test_job_is_taken_once_and_only_while_the_agent_runs(
    servers: list[StuckServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """LiveKit does not have to know the agent yet."""
    monkeypatch.setattr(agent, "Watcher", HeldRoom)
    monkeypatch.setattr(HeldRoom, "watched", [])
    store = MemoryStore(time.time)
    manager, session = an_agent(store), given.after(given.a_session(), *given.created())
    await store.add(session)
    await manager.take_job(session)
    assert not store.get(session.session_id).manager.in_charge

    await manager.start()
    await manager.take_job(session)
    await manager.take_job(session)
    [(identity, url, _)] = await until(lambda: HeldRoom.watched, bool)
    assert (identity, url, manager.rooms_held) == (given.MANAGER, URL, 1)
    assert store.get(session.session_id).manager.in_charge

    await manager.aclose()
    await until(lambda: manager.rooms_held == 0)
    assert not store.get(session.session_id).manager.in_charge, "the next one may come at once"


class SlowStore(MemoryStore):
    """Records that a job is accepted only once `go_on` is set."""

    def __init__(self) -> None:
        super().__init__(time.time)
        self.is_accepting, self.go_on = asyncio.Event(), asyncio.Event()

    async def update(self, session_id: str, event: ev.Event) -> Session:
        if isinstance(event, ev.JobAccepted):
            self.is_accepting.set()
            await self.go_on.wait()
        return await super().update(session_id, event)


async def test_no_room_is_joined_once_the_agent_is_closed(
    servers: list[StuckServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "Watcher", HeldRoom)
    monkeypatch.setattr(HeldRoom, "watched", [])
    store = SlowStore()
    manager, session = an_agent(store), given.after(given.a_session(), *given.created())
    await store.add(session)
    await manager.start()
    taking = asyncio.create_task(manager.take_job(session))
    await store.is_accepting.wait()
    await manager.aclose()
    store.go_on.set()
    await taking
    assert HeldRoom.watched == []
    assert not store.get(session.session_id).manager.in_charge


async def test_an_offered_job_is_accepted_at_the_instant_at_which_this_process_may_act() -> None:
    """Its manager has the full time to join from then on."""
    clock = VirtualClock()

    class LateGate:
        async def held(self) -> bool:
            clock.now += 5
            return True

    class Offer:
        job = SimpleNamespace(metadata=DispatchMetadata(session_id="s1", attempt=1).model_dump_json())
        room = SimpleNamespace(name="demo", sid="RM_1")
        accepted: ClassVar[list[str]] = []

        async def accept(self, *, identity: str, name: str) -> None:
            self.accepted.append(identity)

    store, late, offer = MemoryStore(clock), cast(Any, LateGate()), cast(Any, Offer())
    await store.add(given.after(given.a_session(), *given.created()))
    await an_agent(store, late, clock)._decide(offer)
    manager = store.get("s1").manager
    assert (offer.accepted, manager.accepted_at) == ([manager.identity], given.START + 5)
