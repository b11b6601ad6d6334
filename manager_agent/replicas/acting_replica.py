"""Whether this replica may act: while it holds its lease in Redis (lease.py), as an ActingGate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog

from manager_agent.not_acting import NotActing
from manager_agent.replicas.membership import Membership

log = structlog.get_logger()

PATIENCE = 8.0
"""The most seconds for which what needs to act is held. A renewal that fails ends it earlier."""


class ActingReplica:
    """Starts and ends the membership. Its replica is never superseded: the others act beside it."""

    def __init__(self, membership: Membership, deployment: str) -> None:
        self._membership = membership
        self.id, self.room_name = membership.id, f"session-manager.{deployment}"
        self._news, self._failures = asyncio.Event(), 0
        self._was_acting: bool | None = None
        membership.listen(self._tell)

    @property
    def turn(self) -> str:
        """No replica writes the records in place of another."""
        return ""

    def worker_name(self, agent_name: str) -> str:
        return f"{agent_name}/{self.id}"

    @property
    def may_act(self) -> bool:
        return self._membership.may_act

    @property
    def is_superseded(self) -> bool:
        return False

    @property
    def why_not(self) -> str:
        if self._membership.is_held:
            return "this replica does not know yet which sessions others have taken over"
        return f"this replica's lease in Redis has lapsed: {self._membership.failure}"

    def when_superseded(self, listener: Callable[[], None]) -> None:
        """It never is."""

    async def start(self, last_writer: str = "") -> None:
        await self._membership.start()

    async def aclose(self) -> None:
        await self._membership.aclose()

    async def held(self) -> bool:
        failures = self._failures
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while not self.may_act and self._failures == failures:
                    await self._news.wait()
        return self.may_act

    async def require(self) -> None:
        if not self.may_act and not await self.held():
            raise NotActing(self.why_not)

    async def until_acting(self) -> None:
        while not self.may_act:
            await self._news.wait()

    async def until_successor_stopped(self) -> None:
        await asyncio.get_running_loop().create_future()

    def _tell(self) -> None:
        """Wake those that wait."""
        may_act = self.may_act
        self._failures += not may_act
        if may_act != self._was_acting and (may_act or self._was_acting is not None):
            self._was_acting = may_act
            if may_act:
                log.info("acting", process=self.id)
            else:
                log.warning("not_acting", why=self.why_not)
        news, self._news = self._news, asyncio.Event()
        news.set()
