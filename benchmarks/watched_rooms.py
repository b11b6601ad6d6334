"""Rooms in which the coming and going of one service is watched: by the SDK's room event, or by a session manager."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import aiohttp
from aiohttp import web
from livekit import api

from benchmarks.child import Child, running
from benchmarks.one_service import KEY, POLL_INTERVAL, SECRET, SERVICE_ID, environment, listening, registered, token
from scripts.free_ports import free_port
from scripts.livekit_server import LiveKitServer


@dataclass(frozen=True, slots=True)
class Seat:
    """A service's access to a watched room."""

    room: str
    url: str
    token: str


class RoomWatch(Protocol):
    """Rooms watched by one of the designs."""

    async def open(self) -> Seat:
        """Open a new room for one service."""

    async def known_at(self, seat: Seat) -> float:
        """Wait until the service's join is known. Returns the instant."""

    async def left_at(self, seat: Seat) -> float:
        """Wait until its leave is known. Returns the instant."""

    async def close(self, seat: Seat) -> None:
        """Close the room."""


class RoomEvents:
    """benchmarks/room_event.py in a child."""

    def __init__(self, child: Child, livekit: api.LiveKitAPI, url: str) -> None:
        self._child, self._livekit, self._url = child, livekit, url
        self._numbers = count()
        self._watching: dict[str, asyncio.Future[None]] = {}
        self._joined: dict[str, asyncio.Future[float]] = {}
        self._left: dict[str, asyncio.Future[float]] = {}

    async def open(self) -> Seat:
        name, loop = f"event-{next(self._numbers)}", asyncio.get_running_loop()
        for instants in (self._joined, self._left):
            instants[name] = loop.create_future()
        self._watching[name] = loop.create_future()
        await self._livekit.room.create_room(api.CreateRoomRequest(name=name))
        self._child.send(f"{name} {token(name, 'manager', hidden=True)}")
        await self._watching[name]
        return Seat(name, self._url, token(name, "service", hidden=False))

    async def known_at(self, seat: Seat) -> float:
        return await self._joined[seat.room]

    async def left_at(self, seat: Seat) -> float:
        return await self._left[seat.room]

    async def close(self, seat: Seat) -> None:
        await self._livekit.room.delete_room(api.DeleteRoomRequest(room=seat.room))

    async def listen(self) -> None:
        """Process the child's lines. Never returns."""
        while True:
            match (await self._child.receive()).split(" "):
                case ["watching", name]:
                    self._watching[name].set_result(None)
                case ["joined", name, instant] if not self._joined[name].done():
                    self._joined[name].set_result(float(instant))
                case ["left", name, instant] if not self._left[name].done():
                    self._left[name].set_result(float(instant))


class Sessions:
    """The session manager: creates a session over HTTP for every join."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self._invites: dict[str, asyncio.Future[Seat]] = {}
        self._sessions: dict[str, str] = {}

    async def open(self) -> Seat:
        return await self._invite(await self._request({"Prefer": "respond-async"}))

    async def known_at(self, seat: Seat, step: str = "joined") -> float:
        """The instant of the service's step, from the session's timeline: with millisecond precision, so polling does
        not affect the result."""
        while True:
            async with self._http.get(f"/api/v1/sessions/{self._sessions[seat.room]}") as answer:
                timeline = (await answer.json())["services"][0]["timeline"]
            if step in timeline:
                return datetime.fromisoformat(timeline[step]).timestamp()
            await asyncio.sleep(POLL_INTERVAL)

    async def left_at(self, seat: Seat) -> float:
        return await self.known_at(seat, "left")

    async def close(self, seat: Seat) -> None:
        async with self._http.delete(f"/api/v1/sessions/{self._sessions[seat.room]}"):
            pass

    async def receive(self, request: web.Request) -> web.Response:
        """Receive an invite or a session_ended message."""
        message = json.loads(await request.read())
        if message["event"] == "session_invited":
            room = message["session"]["room_name"]
            self._sessions[room] = message["session"]["session_id"]
            if not self._invite(room).done():  # a service that has left is invited again
                self._invite(room).set_result(Seat(room, message["server_url"], message["token"]))
        return web.Response()

    async def _request(self, headers: Mapping[str, str], **fields: str) -> str:
        """Create a session. Returns the name of its room."""
        body = {"user_identity": "user", "required_services": [SERVICE_ID], **fields}
        async with self._http.post("/api/v1/sessions", json=body, headers=headers) as answer:
            session = await answer.json()
        self._sessions[session["room_name"]] = session["session_id"]
        return str(session["room_name"])

    def _invite(self, room: str) -> asyncio.Future[Seat]:
        """The invite into this room. It may arrive before the response to the request for the session."""
        return self._invites.setdefault(room, asyncio.get_running_loop().create_future())


class AwaitedSessions(Sessions):
    """A client that waits for the token. A join is known when it has it."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        super().__init__(http)
        self._tokens: dict[str, asyncio.Task[float]] = {}

    async def open(self) -> Seat:
        name = f"awaited-{uuid4()}"
        self._tokens[name] = asyncio.create_task(self._has_token(name))
        return await self._invite(name)

    async def known_at(self, seat: Seat, step: str = "joined") -> float:
        return await (super().known_at(seat, step) if step != "joined" else self._tokens[seat.room])

    async def _has_token(self, name: str) -> float:
        await self._request({}, room_name=name)
        return time.time()


@asynccontextmanager
async def room_events(binary: Path, folder: Path) -> AsyncIterator[RoomWatch]:
    async with (
        LiveKitServer(binary, port=free_port(), webhook_url=None, log=folder / "livekit-server.log") as server,
        running("benchmarks.room_event", server.url, log=folder / "room_event.log") as child,
        api.LiveKitAPI(server.url, KEY, SECRET) as livekit,
    ):
        await child.ready()
        watch = RoomEvents(child, livekit, server.url)
        listening = asyncio.create_task(watch.listen())
        yield watch
        listening.cancel()


@asynccontextmanager
async def sessions(binary: Path, folder: Path, *, webhooks: bool) -> AsyncIterator[RoomWatch]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    webhook_url = f"{url}/livekit/webhook" if webhooks else None
    async with (
        LiveKitServer(binary, port=free_port(), webhook_url=webhook_url, log=folder / "livekit-server.log") as server,
        running("http_api", "--dev", log=folder / "api.log", environment=environment(server.url, port)),
        aiohttp.ClientSession(url) as http,
    ):
        watch = AwaitedSessions(http)
        async with listening(watch.receive) as endpoint:
            await registered(http, endpoint)
            yield watch
