"""Hands over what this replica has too much of: after another one joined, and all if it drains (balance.py)."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog

from manager_agent.clock import Clock
from manager_agent.livekit.room_acts import RoomActs
from manager_agent.redis.connection import RedisAway
from manager_agent.replicas.balance import is_settled, spread
from manager_agent.replicas.hand_over import HandOver
from manager_agent.replicas.live_counts import LiveCounts
from manager_agent.replicas.membership import Membership
from manager_agent.replicas.rendezvous import chosen
from manager_agent.session.session import Session
from manager_agent.store.redis import RedisStore
from manager_agent.tasks import Tasks

log = structlog.get_logger()

INTERVAL, DRAIN_INTERVAL = 1.0, 0.25
"""Seconds between two rounds."""
MOST, DRAIN_MOST = 4, 16
"""Sessions that are handed over in one round, and at the same time: no more while their managers are awaited."""


class Spreading:
    def __init__(self, store: RedisStore, membership: Membership, acts: RoomActs, clock: Clock) -> None:
        self._store, self._membership, self._clock = store, membership, clock
        self._live, self._hand_over = LiveCounts(store), HandOver(store, membership, acts)
        self._tasks = Tasks()
        membership.count_sessions_with(lambda: self._live.by_replica[membership.id])

    @property
    def awaited(self) -> int:
        """How many sessions that were handed over wait for the other replica's manager."""
        return self._hand_over.awaited

    @property
    def receivers(self) -> list[str]:
        """The other replicas to which sessions may be handed over."""
        own_id = self._membership.id
        return [one.replica_id for one in self._membership.roll.receivers if one.replica_id != own_id]

    async def start(self) -> None:
        self._tasks.spawn(self._run(), name="spreading", for_all=True)

    async def aclose(self) -> None:
        await self._tasks.aclose()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(DRAIN_INTERVAL if self._membership.is_draining else INTERVAL)
            try:
                await self.round()
            except RedisAway:
                continue  # logged where the lease is renewed
            except Exception:
                log.exception("spreading_fault")

    async def round(self) -> None:
        """Hand over what is due now. Raises RedisAway."""
        if not self._membership.may_act:
            return
        most = (DRAIN_MOST if self._membership.is_draining else MOST) - self._hand_over.awaited
        transfer = spread(self._membership.id, self._live.by_replica, self._membership.roll, max(most, 0))
        now, targets = self._clock(), list(transfer.targets)
        for session in self._store.owned() if targets else ():
            if not targets:
                break
            if not session.over and is_settled(session, now) and await self._hand_over.give(session, targets[-1]):
                targets.pop()
        if self._membership.is_draining:
            await self._give_ended()

    async def _give_ended(self) -> None:
        """Hand over the sessions that are cleaned up: they need no manager. Raises RedisAway."""
        receivers = self.receivers
        for session in list(self._store.owned()) if receivers else ():
            if session.is_cleaned_up:
                await self._hand_over.give(session, chosen(session.session_id, receivers))

    async def give_all(self) -> None:
        """Hand over every session at once, in whichever state it is."""
        receivers, slots = self.receivers, asyncio.Semaphore(DRAIN_MOST)

        async def give(session: Session) -> None:
            async with slots:
                with suppress(RedisAway):
                    await self._hand_over.give(session, chosen(session.session_id, receivers))

        async with asyncio.TaskGroup() as group:
            for session in list(self._store.owned()) if receivers else ():
                group.create_task(give(session))
