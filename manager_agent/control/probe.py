"""The deep health check: create a real room, wait for its manager, join, and exchange a message with the manager."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from manager_agent.clock import Clock
from manager_agent.control.orchestrator import Orchestrator
from manager_agent.livekit.calls import LiveKitUnavailable
from manager_agent.livekit.probe_participant import ProbeParticipant, RoomUnusable
from manager_agent.livekit.server_api import Rooms
from manager_agent.session.session import Limits, Session, User
from manager_agent.store.store import Store, UnknownSession
from manager_agent.tasks import Tasks
from manager_agent.ulids import new_ulid

PROBE_TIMEOUT = 10.0
IDENTITY = "health-check"


class ProbeFailed(Exception):
    """The deep health check failed. The message says at which step."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    took: float
    """Seconds."""
    webhooks_arrive: bool
    """Whether a LiveKit webhook about the room arrived meanwhile."""


class Probe:
    """Runs one check at a time; concurrent callers share its outcome. Its sessions have no owner: no caller sees
    them, and no metric counts them."""

    def __init__(self, *, orchestrator: Orchestrator, store: Store, rooms: Rooms, clock: Clock) -> None:
        self._orchestrator, self._store, self._rooms, self._clock = orchestrator, store, rooms, clock
        self._running: asyncio.Task[ProbeResult] | None = None
        self._leaving = Tasks()

    async def run(self) -> ProbeResult:
        """Run the check, or wait for the running one. Raises ProbeFailed."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._prove(), name="probe")
        return await asyncio.shield(self._running)

    async def _prove(self) -> ProbeResult:
        start = self._clock()
        ulid = new_ulid(start)
        try:
            await self._rooms.check()
        except LiveKitUnavailable as error:
            raise self._without_room() from error
        session = Session(
            session_id=f"ses_{ulid}",
            room_name=f"health-check-{ulid.lower()}",
            user=User(identity=IDENTITY),
            created_at=start,
            limits=Limits(ready_timeout=PROBE_TIMEOUT, retention=0.0),
        )
        step, participant = "create a room", ProbeParticipant(PROBE_TIMEOUT)
        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                session = await self._orchestrator.open(session)
                if session.over and session.room.created_at is None:
                    raise self._without_room()
                step = "get a manager into the room"
                session = await self._store.wait_for(
                    session.session_id, lambda latest: latest.over or latest.manager.presence.here
                )
                if session.end is not None:
                    raise ProbeFailed(f"could not {step}: the session ended: {session.end.reason}")
                step = "join the room"
                await participant.join(self._rooms.url, self._rooms.tokens.for_user(session, self._clock()).jwt)
                step = "get an answer from the manager"
                await participant.get_answer(session.manager.identity or "")
            result = ProbeResult(self._clock() - start, self._store.get(session.session_id).webhooks_arrive)
        except (TimeoutError, RoomUnusable) as error:
            raise ProbeFailed(f"could not {step}: {error!r}") from error
        finally:
            leaving = self._leaving.spawn(self._leave(session, participant), name="probe leaves")
        await asyncio.wait([leaving])  # a failure is told at once instead: LiveKit may delete the room late or never
        return result

    def _without_room(self) -> ProbeFailed:
        why = self._rooms.rejection
        return ProbeFailed("LiveKit did not create a room" + (f": {why}" if why else ""))

    async def _leave(self, session: Session, participant: ProbeParticipant) -> None:
        await participant.leave()
        with suppress(UnknownSession):  # it could not be stored
            self._store.get(session.session_id)
            await self._orchestrator.close(session.session_id)
