"""Stand-ins for LiveKit, the services and the manager agent, and the API as its callers see it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from http_api.bootstrap import Components, ComponentTypes, compose
from http_api.limits.waiters import WAITERS
from http_api.observability.sinks import LogSinks
from http_api.observability.tracing import Tracing
from http_api.settings.settings import Settings
from manager_agent.control.reconcile import Reconciler
from manager_agent.livekit.agent import ManagerAgent
from manager_agent.livekit.calls import LiveKitRejects, LiveKitUnavailable
from manager_agent.livekit.join_tokens import JoinTokens
from manager_agent.livekit.listed_room import ListedRoom
from manager_agent.livekit.room_record import RecordedDispatches
from manager_agent.livekit.server_api import Listing, Rooms, RoomTaken
from manager_agent.livekit.tokens import AccessToken
from manager_agent.outbound.invites import Inviter
from manager_agent.records.records import Records
from manager_agent.session.required_service import RequiredService
from manager_agent.session.session import Session
from tests.always_acting import AlwaysActing
from tests.session_report import in_short
from tests.waiting import described, waiting_for


@dataclass
class LiveKit:
    """What the stand-in of LiveKit is to do, and what it has seen."""

    down: bool = False
    broken: bool = False
    """Raises an unexpected error."""
    foreign_rooms: set[str] = field(default_factory=set)
    rooms: list[str] = field(default_factory=list)
    left_behind: list[ListedRoom] = field(default_factory=list)
    """The rooms of an earlier process, whose records can't be read at the moment."""
    invites: dict[str, str] = field(default_factory=dict)
    """The join token of each invited service, by its id; of the newest invite."""
    invited: asyncio.Event = field(default_factory=asyncio.Event)
    invite_count: Counter[str] = field(default_factory=Counter)
    """The number of invites of each service."""
    fails_to_delete: bool = False
    is_slow: bool = False
    """Makes no room until `makes_rooms`."""
    takes_no_records: bool = False
    """Records nothing until `takes_records`."""
    takes_records: asyncio.Event = field(default_factory=asyncio.Event)
    makes_rooms: asyncio.Event = field(default_factory=asyncio.Event)
    reconciler: Reconciler = field(init=False)
    """Lists the rooms when a test runs a round."""


class StandInTokens(JoinTokens):
    livekit: LiveKit

    def for_user(self, session: Session, now: float) -> AccessToken:
        if self.livekit.broken:
            raise RuntimeError("the password is 1234")
        return super().for_user(session, now)


class StandInRooms(Rooms):
    livekit: LiveKit

    @property
    def is_away(self) -> bool:
        return self.livekit.down

    async def check(self) -> None:
        if self.rejection is not None:
            raise LiveKitRejects(self.rejection)
        if self.livekit.down:
            raise LiveKitUnavailable("http://10.0.0.7:7880 can't be reached")

    async def is_answering(self, room_name: str) -> bool:
        return not self.livekit.down

    async def has_room(self, session: Session) -> bool:
        return False

    async def has_participant(self, room_name: str, identity: str) -> bool:
        return False

    async def create(self, session: Session, *, patience: float = 0.0) -> str:
        if self.livekit.down:
            raise LiveKitUnavailable("http://10.0.0.7:7880 can't be reached")
        if self.livekit.is_slow:
            await self.livekit.makes_rooms.wait()
        if session.room_name in self.livekit.foreign_rooms:
            raise RoomTaken(session.room_name)
        self.livekit.rooms.append(session.room_name)
        return f"RM_{session.room_name}"

    async def delete(self, room_name: str, *, sid: str, session_id: str) -> None:
        if self.livekit.fails_to_delete:
            raise LiveKitUnavailable("http://10.0.0.7:7880 can't be reached")
        if sid == f"RM_{room_name}":
            self.livekit.rooms.remove(room_name)

    async def list_participants(self, room_name: str) -> Listing:
        return Listing((), ())

    async def dispatch_manager(self, session: Session, attempt: int) -> None: ...

    async def list_rooms(self) -> list[ListedRoom]:
        if self.livekit.down:
            raise LiveKitUnavailable("http://10.0.0.7:7880 can't be reached")
        others = [ListedRoom(name, f"RM_{name}", "", is_ours=False) for name in self.livekit.rooms]
        return self.livekit.left_behind + others

    async def recorded_dispatches(self, room_name: str) -> RecordedDispatches:
        raise LiveKitUnavailable("http://10.0.0.7:7880 can't be reached")

    async def show_status(self, session: Session) -> None:
        if self.livekit.takes_no_records:
            await self.livekit.takes_records.wait()

    async def record_specification(self, session: Session) -> None: ...


class StandInInviter(Inviter):
    livekit: LiveKit

    async def invite(self, session: Session, entry: int) -> None:
        service = session.services[entry]
        if service.agent_name is None:
            token = self._rooms.tokens.for_service(session, service, self._clock())
            self.livekit.invites[service.service_id] = token.jwt
        self.livekit.invite_count[service.service_id] += 1
        self.livekit.invited.set()

    async def send_session_ended(self, session: Session, service: RequiredService, reason: str) -> None: ...


class StandInAgent(ManagerAgent):
    is_registered = True

    @property
    def registered(self) -> bool:
        return self.is_registered

    async def start(self) -> None: ...

    async def aclose(self) -> None: ...


class StandInReconciler(Reconciler):
    async def start(self) -> None: ...


@dataclass
class Api:
    """The API as its callers see it, and the parts behind it."""

    http: aiohttp.ClientSession
    parts: Components
    livekit: LiveKit
    agent: StandInAgent
    port: int
    app: web.Application = field(init=False)
    """The application, where a fixture started it."""

    async def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, Any]:
        """Status, headers and JSON body of the answer. `path` is below /api/v1 unless it begins with two slashes."""
        url = path[1:] if path.startswith("//") else "/api/v1" + path
        async with self.http.request(method, url, json=body, headers=headers) as answer:
            return answer.status, answer.headers, await answer.json() if answer.content_length else None

    async def register(self, *service_ids: str, type: str = "ASR") -> None:
        for service_id in service_ids:
            body = {"service_id": service_id, "endpoint": "http://127.0.0.1:1/", "metadata": {"type": type}}
            assert (await self.ask("POST", "/microservices/register", body))[0] in (200, 201)

    async def open(self, *required: Any, prefer: str = "respond-async", **more: Any) -> tuple[int, Any, Any]:
        body = {"user_identity": "alice", "required_services": list(required), **more}
        return await self.ask("POST", "/sessions", body, {"Prefer": prefer} if prefer else None)

    async def has_waiting(self, count: int) -> None:
        """Return once so many requests are kept waiting."""
        async with waiting_for(f"{count} waiting requests", lambda: self.app[WAITERS].count):
            while self.app[WAITERS].count != count:
                await asyncio.sleep(0.001)

    async def until(self, session_id: str, wanted: Callable[[Session], bool]) -> Session:
        """Return the session once it is as wanted."""
        store = self.parts.store
        async with waiting_for(described(wanted), lambda: in_short(store.get(session_id))):
            return await store.wait_for(session_id, wanted)

    async def reconcile(self) -> None:
        """Run one round of the reconciler, whether LiveKit answers or not."""
        with suppress(LiveKitUnavailable):
            await self.livekit.reconciler.round()

    async def say_ready(self, session_id: str, service_id: str, token: str | None = None) -> tuple[int, Any, Any]:
        """Send the ready signal of a service, with the token of its invite unless another is given."""
        await self.livekit.invited.wait()
        bearer = self.livekit.invites[service_id] if token is None else token
        headers = {"Authorization": f"Bearer {bearer}"}
        return await self.ask("POST", f"/sessions/{session_id}/ready", {"service_id": service_id}, headers)


StartApi = Callable[..., Awaitable[Api]]


def stand_ins(
    settings: Settings,
    livekit: LiveKit,
    sinks: LogSinks | None = None,
    tracing: Tracing | None = None,
    records: Records | None = None,
) -> tuple[Components, StandInAgent]:
    """The components of an API that talks to these stand-ins, and its agent."""
    types = ComponentTypes(
        acting=AlwaysActing,
        rooms=StandInRooms,
        inviter=StandInInviter,
        agent=StandInAgent,
        reconciler=StandInReconciler,
    )
    parts = compose(settings, sinks, types=types, tracing=tracing, records=records)
    rooms, inviter, agent = parts.rooms, parts.inviter, parts.agent
    assert isinstance(rooms, StandInRooms)
    assert isinstance(inviter, StandInInviter)
    assert isinstance(agent, StandInAgent)
    rooms.tokens = tokens = StandInTokens(rooms.tokens._tokens, parts.room_names, rooms.acts)
    rooms.livekit = inviter.livekit = tokens.livekit = livekit
    livekit.reconciler = parts.reconciler
    return parts, agent
