"""Opens and closes sessions, and starts a control loop for each (control_loop.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import structlog

from manager_agent.acting_gate import ActingGate
from manager_agent.clock import Clock
from manager_agent.control.backends import Backends, TakeJob
from manager_agent.control.control_loop import ControlLoop
from manager_agent.control.missed_rooms import MissedRooms
from manager_agent.control.replacement import Replacer
from manager_agent.control.room_deletions import RoomDeletions
from manager_agent.control.standstill import Standstill
from manager_agent.livekit.calls import LiveKitUnavailable, RoomMissing
from manager_agent.livekit.join_slots import JoinsUnderWay, NewSessions
from manager_agent.livekit.server_api import Rooms
from manager_agent.not_acting import NotActing
from manager_agent.outbound.invites import Inviter
from manager_agent.records.records import Records
from manager_agent.registry.registry import Registry
from manager_agent.session import events as ev
from manager_agent.session.identities import Identities
from manager_agent.session.plan import NAME_QUARANTINE
from manager_agent.session.session import Session
from manager_agent.store.recording import Recording
from manager_agent.store.store import RoomNameTaken, Store, UnknownSession
from manager_agent.tasks import Tasks

log = structlog.get_logger()

SETTLE_TIMEOUT = 5.0
"""Seconds that a caller waits for the cleanup, which then continues in the background."""
SHOWN = 10
"""Session ids in one log entry."""
IO_GRACE = 2.0
"""Seconds for calls under way when the process stops, such as invites and messages about ended sessions."""
HELD_TIMEOUT = 3.0
"""Seconds to learn that this process may act when it is to end all sessions."""
RECORD_TIMEOUT = 1.5
"""Seconds to write what is not recorded yet when the process stops."""


class SessionTasks:
    """What runs for one session."""

    def __init__(self, loops: Tasks, io: Tasks, writers: Tasks) -> None:
        """The groups of all sessions."""
        self.loop, self.io, self.writers = Tasks(loops), Tasks(io), Tasks(writers)
        self.is_running = True
        """Whether its control loop runs."""

    def cancel(self) -> None:
        for tasks in (self.loop, self.io, self.writers):
            tasks.cancel()


class Orchestrator:
    def __init__(
        self,
        *,
        store: Store,
        rooms: Rooms,
        inviter: Inviter,
        registry: Registry,
        identities: Identities,
        missed_rooms: MissedRooms,
        recording: Recording,
        records: Records,
        acting: ActingGate,
        standstill: Standstill,
        clock: Clock,
        acting_store: Callable[[str], Store] | None = None,
        take_job: TakeJob | None = None,
        new_sessions: NewSessions | None = None,
        joins: JoinsUnderWay | None = None,
    ) -> None:
        """`acting_store`: makes the store with which this process acts for one session; it refuses changes once another
        process acts for it. None: no other process acts for a session of the store. `take_job`: see Backends.
        `new_sessions`: is told which of its sessions are new. `joins`: those of its managers."""
        replacer = Replacer(registry, identities)
        self._control_loops, self._io, self._writers = Tasks(), Tasks(), Tasks()
        self._running: dict[str, SessionTasks] = {}
        """By the ids of the sessions for which this process acts or did so last."""
        self._deletions = RoomDeletions()
        self._acting_store, self._is_shared = acting_store or (lambda _: store), acting_store is not None
        self._backends = Backends(
            store,
            rooms,
            inviter,
            registry,
            replacer,
            identities,
            missed_rooms,
            recording,
            records,
            self._io,
            self._writers,
            self._deletions,
            acting,
            standstill,
            clock,
            take_job,
            new_sessions or NewSessions(),
            joins or JoinsUnderWay(),
        )
        self._store, self._recording, self._clock = store, recording, clock

    async def open(self, session: Session) -> Session:
        """Store the session and start its control loop. Returns the session once its room exists, or once it is over
        because LiveKit could not create one. Raises RoomNameTaken, also if LiveKit has a room of that name that is not
        ours."""
        await self._store.add(session)
        self._start(session.session_id)
        session = await self._store.wait_for(
            session.session_id, lambda latest: latest.over or latest.room.created_at is not None
        )
        if session.room.is_refused_name:
            await self._store.remove(session.session_id)
            raise RoomNameTaken(session.room_name, NAME_QUARANTINE)
        return session

    async def resume(self, session: Session, recorded: Session | None) -> None:
        """Continue a session of an earlier process. `recorded`: the session that the record of its room has; None if it
        is over and its room is not written any more."""
        await self._store.restore(session, None if recorded is None else recorded.state_revision)
        self._start(session.session_id, lambda loop: None if recorded is None else loop.resume(recorded))

    async def take_over(self, session_id: str, *, manager_at: float | None, is_from_dead: bool = False) -> None:
        """Continue a session for which another process acted until now, unless it is continued already. Its manager is
        replaced from `manager_at` on; None: it is one of this process. `is_from_dead`: whether the other process is
        dead. Raises UnknownSession, NotActing."""
        if self.acts_for(session_id):
            return
        store = self._acting_store(session_id)
        known = await self._dispatched_invites(store.get(session_id))
        session = await store.update(session_id, ev.Interrupted(self._clock(), manager_at, known, is_from_dead))
        if not self.acts_for(session_id):
            self._start(session_id, lambda loop: loop.take_over(session))

    async def _dispatched_invites(self, session: Session) -> frozenset[str]:
        """The ids of its invites that were sent as dispatches, if any may be under way; none if LiveKit can't say."""
        if not any(one.current.in_flight and one.agent_name is not None for one in session.services):
            return frozenset()
        try:
            return frozenset((await self._backends.rooms.recorded_dispatches(session.room_name)).invite_ids)
        except (LiveKitUnavailable, RoomMissing):
            return frozenset()

    def acts_for(self, session_id: str) -> bool:
        """Whether the session has a control loop here."""
        return session_id in self._running and self._running[session_id].is_running

    def let_go(self, session_id: str) -> None:
        """Do nothing more for this session, at once, and end nothing: another process acts for it. The deletion of its
        room that is under way is still awaited."""
        tasks = self._running.pop(session_id, None)
        if tasks is not None:
            tasks.cancel()
            self._recording.close(session_id)

    def _start(self, session_id: str, prepare: Callable[[ControlLoop], None] = lambda _: None) -> None:
        store = self._acting_store(session_id)
        self.let_go(session_id)  # what an earlier control loop of it may have left running
        tasks = self._running[session_id] = SessionTasks(self._control_loops, self._io, self._writers)
        control_loop = ControlLoop(session_id, replace(self._backends, store=store, io=tasks.io, writers=tasks.writers))
        prepare(control_loop)
        running = tasks.loop.spawn(control_loop.run(), name=f"{session_id} control loop")
        running.add_done_callback(lambda _: self._ended(session_id, tasks))

    def _ended(self, session_id: str, tasks: SessionTasks) -> None:
        tasks.is_running = False
        with suppress(UnknownSession):
            self._store.get(session_id)
            return
        if self._running.get(session_id) is tasks:
            del self._running[session_id]

    async def close(self, session_id: str, *, client_gone: bool = False) -> Session:
        """End a session, unless it is over already. Returns it once it is cleaned up, or after SETTLE_TIMEOUT. Raises
        UnknownSession, and NotActing if it is left to another process."""
        await self._store.update(session_id, ev.SessionClosed(self._clock(), client_gone))
        try:
            return await self.settled(session_id)
        except NotActing:
            if not await self._deletions.has_deleted(session_id):
                raise
        self._recording.close(session_id)
        return self._store.get(session_id)

    async def settled(self, session_id: str) -> Session:
        """Wait up to SETTLE_TIMEOUT for the cleanup of a session that is over, and return the session."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_TIMEOUT):
                await self._store.wait_for(session_id, lambda session: session.is_cleaned_up)
        return self._store.get(session_id)

    def step_down(self) -> None:
        """Stop at once, without ending anything: another process continues the sessions. The deletion of a room that is
        under way may have been carried out already: its answer is still awaited."""
        for tasks in (self._control_loops, self._io, self._writers):
            tasks.cancel()

    async def close_all(self) -> None:
        """End every session for which this process acts. Takes bounded time, and logs those that are left to the next
        process."""
        acting = self._backends.acting
        with suppress(TimeoutError):
            async with asyncio.timeout(HELD_TIMEOUT):
                await acting.held()
        if acting.may_act:
            await asyncio.gather(*map(self.close, self._not_cleaned_up), return_exceptions=True)
        if (left := self._not_cleaned_up) and not acting.is_superseded:
            why = "LiveKit did not delete their rooms in time" if acting.may_act else acting.why_not
            log.warning("sessions_not_ended", count=len(left), session_ids=left[:SHOWN], why=why)

    @property
    def _not_cleaned_up(self) -> list[str]:
        left = [session.session_id for session in self._store.list() if not session.is_cleaned_up]
        return list(filter(self.acts_for, left)) if self._is_shared else left

    async def pause(self) -> None:
        """Do nothing more for any session; calls under way get IO_GRACE. The sessions and their rooms stay."""
        await self._control_loops.aclose()
        await self._io.aclose(IO_GRACE)
        await self._deletions.aclose()

    async def aclose(self) -> None:
        """After `pause`, and once the managers have left: write what is not recorded yet, for RECORD_TIMEOUT."""
        missing = await self._recording.until_all_recorded(RECORD_TIMEOUT)
        if missing:
            log.warning("sessions_not_recorded", count=len(missing), session_ids=missing[:SHOWN])
        await self._writers.aclose()
