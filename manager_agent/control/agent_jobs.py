"""Whether a worker takes the job of a dispatched agent, and under which identity the agent joins.

LiveKit answers a dispatch before it looks for a worker, drops the job if it finds none, only workers above their load
threshold or one that rejects it, and never offers the dispatch to a worker that comes later. Only ListDispatch shows
whether it has a job.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog

from manager_agent.clock import Clock
from manager_agent.livekit.calls import LiveKitUnavailable, RoomMissing
from manager_agent.livekit.server_api import Rooms
from manager_agent.outbound.invites import InviteError
from manager_agent.session.deadlines import deadline
from manager_agent.session.events import Refusal
from manager_agent.session.plan import SendInvite
from manager_agent.session.session import Session
from manager_agent.store.store import Store, UnknownSession

log = structlog.get_logger()

JOB_TIMEOUT = 6.0
"""Seconds for a dispatch to show its job. LiveKit was seen to show it only 5.4 s after the dispatch."""
LOOK_INTERVAL = 0.5
LAST_LOOK = 0.3
"""Seconds before the session's deadline at which to decide in any case."""


class AgentJobs:
    def __init__(self, store: Store, rooms: Rooms, clock: Clock) -> None:
        self._store, self._rooms, self._clock = store, rooms, clock

    async def agent_of(self, session: Session, invite: SendInvite, dispatch_id: str) -> str | None:
        """Wait until the dispatch of this invite has a job or its agent joined, and return the agent's identity, empty
        if LiveKit does not tell it. None if it no longer matters, or if LiveKit can't say: the agent may join. If there
        is no job in time, delete the dispatch and raise InviteError."""
        dispatched_at = self._clock()
        try:
            while await self._awaits(session.session_id, invite, LOOK_INTERVAL):
                says, identity = await self._job_identity(session, dispatch_id)
                if identity is not None:
                    return identity
                ends = deadline(self._store.get(session.session_id))
                out_of_time = ends is not None and self._clock() >= ends[0] - LAST_LOOK
                if not out_of_time and self._clock() < dispatched_at + JOB_TIMEOUT:
                    continue
                if not says:
                    return None
                await self._delete(session, dispatch_id)
                raise InviteError(Refusal.NO_WORKER, "no worker took the agent's job")
            attempt = self._store.get(session.session_id).services[invite.entry].current
            has_joined = attempt.number == invite.attempt and attempt.has_appeared
            return attempt.identity or "" if has_joined else None
        except UnknownSession:
            return None

    async def _awaits(self, session_id: str, invite: SendInvite, seconds: float) -> bool:
        """Wait until the agent of this invite joined or is no longer awaited. Returns whether it still is after
        `seconds`."""

        def settled(latest: Session) -> bool:
            attempt = latest.services[invite.entry].current
            is_current = (attempt.number, attempt.tries) == (invite.attempt, invite.tries)
            return latest.over or not is_current or attempt.has_appeared or attempt.reported_failure

        try:
            async with asyncio.timeout(seconds):
                await self._store.wait_for(session_id, settled)
        except TimeoutError:
            return True
        return False

    async def _job_identity(self, session: Session, dispatch_id: str) -> tuple[bool, str | None]:
        """Whether LiveKit says anything, and the identity of the agent that has the job, if one has it."""
        try:
            return True, await self._rooms.job_identity(session.room_name, dispatch_id)
        except (LiveKitUnavailable, RoomMissing):
            return False, None

    async def _delete(self, session: Session, dispatch_id: str) -> None:
        """Delete the dispatch, so that the next one is the only one. One that stays gets no job either."""
        with suppress(RoomMissing):
            try:
                await self._rooms.delete_dispatch(session, dispatch_id)
            except LiveKitUnavailable as error:
                log.warning("dispatch_not_deleted", error=str(error))
