"""Takes the sessions of dead replicas over: each live replica its share, by compare-and-set.

All come to the same shares without talking to each other (rendezvous.py). What its replica has not taken for a while is
taken by any other.
"""

from __future__ import annotations

import asyncio

import structlog

from manager_agent.redis.connection import RedisAway
from manager_agent.replicas.lease import Roll
from manager_agent.replicas.membership import Membership, uptime
from manager_agent.replicas.rendezvous import chosen
from manager_agent.session.session import Session
from manager_agent.store.redis import RedisStore
from manager_agent.store.store import UnknownSession
from manager_agent.store.stored_session import TakeIf
from manager_agent.tasks import Tasks

log = structlog.get_logger()

LEFT_FOR = 3.0
"""Seconds after which any replica takes what the one that should has not taken."""
AT_ONCE = 16
"""Sessions that are taken at the same time."""


class TakeOver:
    def __init__(self, store: RedisStore, membership: Membership) -> None:
        self._store, self._membership = store, membership
        self._dead_since: dict[str, float] = {}
        """The owners that are dead, and since when that is known here."""
        self._is_due, self._tasks = asyncio.Event(), Tasks()
        membership.listen(self._is_due.set)

    async def start(self) -> None:
        self._tasks.spawn(self._run(), name="take over", for_all=True)

    async def aclose(self) -> None:
        await self._tasks.aclose()

    async def _run(self) -> None:
        while True:
            await self._is_due.wait()
            self._is_due.clear()
            try:
                await self._take_all()
            except Exception:
                log.exception("take_over_fault")

    async def _take_all(self) -> None:
        if not self._membership.may_act:
            return
        roll, now = self._membership.roll, uptime()
        dead = [owner for owner in self._store.owners() if roll.is_dead(owner)]
        self._dead_since = {owner: self._dead_since.get(owner, now) for owner in dead}
        due = [session for owner in dead for session in self._due_of(owner, roll, now)]
        due.sort(key=lambda session: session.over)
        slots = asyncio.Semaphore(AT_ONCE)

        async def take(session: Session) -> None:
            async with slots:
                await self._take(session.session_id)

        async with asyncio.TaskGroup() as group:
            for session in due:
                group.create_task(take(session))

    def _due_of(self, owner: str, roll: Roll, now: float) -> list[Session]:
        """The sessions of this dead owner that this replica takes now."""
        takers, own_id = [one.replica_id for one in roll.takers], self._membership.id
        if own_id not in takers:
            return []
        is_left = now >= self._dead_since[owner] + LEFT_FOR
        sessions = self._store.owned_by(owner)
        return [session for session in sessions if is_left or chosen(session.session_id, takers) == own_id]

    async def _take(self, session_id: str) -> None:
        if not self._membership.may_act:
            return
        try:
            before = self._store.ownership(session_id)
            if not self._membership.roll.is_dead(before.owner):
                return
            own_id, only_if = self._membership.id, TakeIf.OWNER_IS_DEAD
            if await self._store.take(session_id, expected=before, owner=own_id, only_if=only_if):
                fence = self._store.ownership(session_id).fence
                log.info("session_taken_over", session_id=session_id, former=before.owner, fence=fence)
        except (UnknownSession, RedisAway):  # that Redis is away is logged where the lease is renewed
            return
