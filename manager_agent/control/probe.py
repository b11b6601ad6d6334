"""Proves that sessions can be had: a real room, a manager in it, a join, and a message there and back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from livekit import rtc
from ulid import ULID

from manager_agent.clock import Clock
from manager_agent.control.orchestrator import Orchestrator
from manager_agent.livekit.room_connection import connect
from manager_agent.livekit.room_watcher import RpcFault
from manager_agent.livekit.server_api import Rooms
from manager_agent.messages import TOPIC
from manager_agent.session.session import Limits, Session, User
from manager_agent.store.memory import MemoryStore

PROBE_TIMEOUT = 10.0
IDENTITY = "health-check"


class ProbeFailed(Exception):
    """A session could not be had; the message says which step failed."""


@dataclass(frozen=True, slots=True)
class Proof:
    took: float
    """Seconds."""
    webhooks_arrive: bool
    """Whether one of LiveKit's webhooks came meanwhile."""


class Probe:
    """One at a time: whoever asks meanwhile shares its outcome."""

    def __init__(self, *, orchestrator: Orchestrator, store: MemoryStore, rooms: Rooms, clock: Clock) -> None:
        self._orchestrator, self._store, self._rooms, self._clock = orchestrator, store, rooms, clock
        self._running: asyncio.Task[Proof] | None = None

    async def run(self) -> Proof:
        """Raises ProbeFailed."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._prove(), name="probe")
        return await asyncio.shield(self._running)

    async def _prove(self) -> Proof:
        start, ulid = self._clock(), ULID()
        session = Session(
            session_id=f"ses_{ulid}",
            room_name=f"health-check-{str(ulid).lower()}",
            user=User(identity=IDENTITY),
            created_at=start,
            limits=Limits(ready_timeout=PROBE_TIMEOUT, retention=0.0),
        )
        step, room = "create a room", rtc.Room()
        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                session = await self._orchestrator.open(session)
                if session.over:
                    raise ProbeFailed("LiveKit did not create a room")
                step = "get a manager into the room"
                session = await self._store.wait_for(session.session_id, lambda latest: latest.manager.presence.here)
                step = "join the room"
                token = self._rooms.user_token(session).jwt
                await connect(room, self._rooms.url, token, rtc.RoomOptions(auto_subscribe=False), PROBE_TIMEOUT)
                step = "get an answer from the manager"
                await self._speak(room, session.manager.identity or "")
            return Proof(self._clock() - start, self._store.get(session.session_id).webhooks_arrive)
        except (TimeoutError, rtc.ConnectError, rtc.RpcError) as error:
            raise ProbeFailed(f"could not {step}: {error!r}") from error
        finally:
            await room.disconnect()
            await self._orchestrator.close(session.session_id)

    async def _speak(self, room: rtc.Room, manager: str) -> None:
        """Speaks to the manager as somebody whom nobody invited: its refusal is the message that came back."""
        try:
            await room.local_participant.perform_rpc(
                destination_identity=manager,
                method=TOPIC,
                payload='{"type": "progress"}',
                response_timeout=PROBE_TIMEOUT,
            )
        except rtc.RpcError as answer:
            if answer.code != RpcFault.UNKNOWN_CALLER:
                raise
