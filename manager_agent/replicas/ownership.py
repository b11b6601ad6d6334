"""Acts for the sessions that this replica owns, and for no other.

The store says who owns a session. Gained: its control loop starts here, and its manager is replaced by one of this
replica, as soon as it is its turn. Lost: the control loop and its I/O stop at once, and nothing is ended; the manager
stays in the room until the other replica's is there (livekit/room_watcher.py).
"""

from __future__ import annotations

import asyncio

import structlog

from manager_agent.clock import Clock
from manager_agent.control.manager_turns import TURN_TIMEOUT, ManagerTurns
from manager_agent.control.orchestrator import Orchestrator
from manager_agent.not_acting import NotActing
from manager_agent.redis.connection import RedisAway
from manager_agent.replicas.membership import Membership
from manager_agent.store.redis import RedisStore
from manager_agent.store.store import UnknownSession
from manager_agent.store.stored_session import Ownership
from manager_agent.tasks import Tasks

log = structlog.get_logger()

CHECK_INTERVAL = 1.0
"""Seconds between two looks for owned sessions that have no control loop here."""
AT_ONCE = 16
"""Sessions that are begun at the same time."""


class SessionOwner:
    def __init__(
        self,
        store: RedisStore,
        orchestrator: Orchestrator,
        turns: ManagerTurns,
        membership: Membership,
        clock: Clock,
    ) -> None:
        self._store, self._orchestrator, self._turns = store, orchestrator, turns
        self._membership, self._clock = membership, clock
        self._owned: set[str] = set()
        self._gained: dict[str, bool] = {}
        """The sessions of other replicas that are not continued yet: their managers are not ours. Each with whether its
        replica is dead."""
        self._beginning: set[str] = set()
        self._unattended: set[str] = set()
        """The owned sessions that had no control loop at the latest look."""
        self._slots, self._tasks = asyncio.Semaphore(AT_ONCE), Tasks()
        store.listen_to_owners(self._owner_changed)

    async def start(self) -> None:
        self._tasks.spawn(self._run(), name="session owner", for_all=True)

    async def aclose(self) -> None:
        """Begin no more. The control loops go on."""
        await self._tasks.aclose()

    def _owner_changed(self, session_id: str, before: Ownership | None, after: Ownership | None) -> None:
        if after is not None and after.owner == self._store.replica_id:
            self._owned.add(session_id)
            if before is not None and before != after:  # a new one is begun by what stored it
                self._orchestrator.let_go(session_id)  # what was begun as an earlier owner
                self._gained[session_id] = self._membership.roll.is_dead(before.owner)
                self._begin(session_id)
            return
        self._owned.discard(session_id)
        self._gained.pop(session_id, None)
        if after is not None:
            self._lost(session_id, after)

    def _lost(self, session_id: str, after: Ownership) -> None:
        acted = self._orchestrator.acts_for(session_id)
        self._orchestrator.let_go(session_id)  # also what a control loop that has ended left running
        if acted:
            log.info("session_let_go", session_id=session_id, owner=after.owner, fence=after.fence)

    def _begin(self, session_id: str) -> None:
        if session_id not in self._beginning:
            self._beginning.add(session_id)
            self._tasks.spawn(self._continue(session_id), name=f"{session_id} gained", for_all=True)

    async def _continue(self, session_id: str) -> None:
        try:
            async with self._slots:
                if not self._store.owns(session_id) or not self._membership.may_act:
                    return
                is_gained, is_from_dead = session_id in self._gained, self._gained.get(session_id, False)
                manager_at = self._clock() + TURN_TIMEOUT if is_gained else None
                await self._orchestrator.take_over(session_id, manager_at=manager_at, is_from_dead=is_from_dead)
        except (UnknownSession, NotActing):
            return
        except RedisAway as away:
            log.warning("session_not_continued", session_id=session_id, error=str(away))
            return
        finally:
            self._beginning.discard(session_id)
        if is_gained and self._orchestrator.acts_for(session_id):
            self._gained.pop(session_id, None)
            self._turns.bring(session_id)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            try:
                self._check()
            except Exception:
                log.exception("ownership_fault")

    def _check(self) -> None:
        """Begin what is owned and has no control loop: what was gained while Redis or LiveKit was away, and what was
        stored by a request that was cut off."""
        if not self._membership.may_act:
            return
        acts_for = self._orchestrator.acts_for
        idle = {session_id for session_id in self._owned if not acts_for(session_id)}
        for session_id in idle & (self._unattended | self._gained.keys()):
            self._begin(session_id)
        self._unattended = idle
