"""Registrations of services that are under way at any replica: quotas and owners of ids hold for all of them together.

A registration is announced in Redis, and then checked against what is registered and what was announced before it. It
ends when it is recorded, or refused. So of two at once at least one knows of the other; of more than a quota lets in,
those that began first are let in.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import NamedTuple

from aiohttp import web

from http_api.limits.announcements import Announcements
from manager_agent.redis.connection import RedisConnection
from manager_agent.redis.script import load_script
from manager_agent.registry.services import RegisteredService

BEGIN = load_script("register")
KEPT_FOR = 60_000
"""Milliseconds after which a registration counts as ended: its replica is gone."""


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
        self._caught_up = caught_up
        self._key = connection.keys.of("registering")
        self._numbers, self._announcements = count(), Announcements(committed)

    async def aclose(self) -> None:
        await self._announcements.aclose()

    async def read_anew(self) -> None:
        """As ChangeLog.read_anew_with has it."""
        await self._announcements.end_again()

    @asynccontextmanager
    async def begin(self, service: RegisteredService) -> AsyncIterator[Sequence[Begun]]:
        """Until the end of the block this service is being registered. Gives the registrations that began before and
        are under way; all that ended before are known here by then. Raises RedisAway."""
        begun = Begun(service.service_id, service.owner, service.agent_name)
        member = json.dumps([self._replica_id, next(self._numbers), *begun])
        ended = partial(self._connection.call, "ZREM", self._key, member)
        with self._announcements.beginning(ended, name="end registration", kept_for=KEPT_FOR):
            others = await self._connection.run(BEGIN, [self._key], [member, KEPT_FOR])
        try:
            await self._caught_up()
            yield [Begun(*json.loads(other)[2:]) for other in others]
        finally:
            self._announcements.end(ended, name="end registration", kept_for=KEPT_FOR)


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
