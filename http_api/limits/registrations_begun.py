"""Registrations of services that are under way at any replica: quotas and owners of ids hold for all of them together.

A registration is announced in Redis, and then checked against what is registered and what was announced before it. It
ends when it is recorded, or refused. So of two at once at least one knows of the other; of more than a quota lets in,
those that began first are let in.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import NamedTuple

from aiohttp import web

from manager_agent.redis.connection import RedisAway, RedisConnection
from manager_agent.redis.script import load_script
from manager_agent.registry.services import RegisteredService
from manager_agent.tasks import Tasks

BEGIN = load_script("register")
KEPT_FOR = 60_000
"""Milliseconds after which a registration counts as ended: its replica is gone."""
LAST_SECONDS = 1.0
"""Seconds to end registrations when the process stops."""
RETRY_PAUSE = 1.0
"""Seconds between two tries to end one."""


class Begun(NamedTuple):
    """A registration that is under way."""

    service_id: str
    owner: str
    agent_name: str | None


class RegistrationsBegun:
    def __init__(
        self,
        connection: RedisConnection,
        replica_id: str,
        *,
        caught_up: Callable[[], Awaitable[None]],
        committed: Callable[[], Awaitable[None]],
    ) -> None:
        """`caught_up`: ChangeLog.caught_up. `committed`: Records.committed."""
        self._connection, self._replica_id = connection, replica_id
        self._caught_up, self._committed = caught_up, committed
        self._key = connection.keys.of("registering")
        self._numbers, self._tasks = count(), Tasks()

    async def aclose(self) -> None:
        await self._tasks.aclose(LAST_SECONDS)

    @asynccontextmanager
    async def begin(self, service: RegisteredService) -> AsyncIterator[Sequence[Begun]]:
        """Until the end of the block this service is being registered. Gives the registrations that began before and
        are under way; all that ended before are known here by then. Raises RedisAway."""
        begun = Begun(service.service_id, service.owner, service.agent_name)
        member = json.dumps([self._replica_id, next(self._numbers), *begun])
        try:
            others = await self._connection.run(BEGIN, [self._key], [member, KEPT_FOR])
            await self._caught_up()
            yield [Begun(*json.loads(other)[2:]) for other in others]
        finally:
            self._tasks.spawn(self._end(member), name="end registration", for_all=True)

    async def _end(self, member: str) -> None:
        ends = asyncio.get_running_loop().time() + KEPT_FOR / 1000
        while asyncio.get_running_loop().time() < ends:
            try:
                await self._committed()
                await self._connection.call("ZREM", self._key, member)
                return
            except RedisAway:
                await asyncio.sleep(RETRY_PAUSE)


REGISTRATIONS_BEGUN: web.AppKey[RegistrationsBegun | None] = web.AppKey("REGISTRATIONS_BEGUN")
"""None: there are no other replicas."""


@asynccontextmanager
async def registering(app: web.Application, service: RegisteredService) -> AsyncIterator[Sequence[Begun]]:
    """As RegistrationsBegun.begin; without other replicas there is nothing that the registry does not know."""
    if (registrations := app[REGISTRATIONS_BEGUN]) is None:
        yield ()
        return
    async with registrations.begin(service) as others:
        yield others
