"""Heartbeats that any replica gets renew leases at all of them.

Each replica collects the heartbeats of a second, and appends them to the changelog as one entry. A replica that is
killed takes a second of them with it: services send the next before their leases end.

[[<service id>, <load or null>, <sessions in flight>], ...]      an entry's content, as JSON
"""

from __future__ import annotations

import asyncio
from typing import Annotated

import structlog
from pydantic import Field, TypeAdapter

from manager_agent.redis.changelog import ChangeLog, Entry
from manager_agent.redis.connection import RedisAway, RedisConnection
from manager_agent.redis.script import load_script
from manager_agent.registry.instances import Instance
from manager_agent.registry.registry import Registry
from manager_agent.tasks import Tasks

log = structlog.get_logger()

TELL = load_script("tell_heartbeats")
INTERVAL = 1.0
"""Seconds between two entries of a replica, at least."""
PER_ENTRY = 1_000
ENTRIES_READ_ANEW, READ_ANEW_SINCE = 1_000, 5
"""Changes, and seconds before the last one, in which heartbeats are looked for when all is read anew."""
CONTENT = TypeAdapter(list[tuple[str, Annotated[float, Field(ge=0, le=1)] | None, Annotated[int, Field(ge=0)]]])


class SharedHeartbeats:
    def __init__(
        self,
        registry: Registry,
        connection: RedisConnection,
        changelog: ChangeLog,
        replica_id: str,
        *,
        interval: float = INTERVAL,
    ) -> None:
        self._registry, self._connection, self._replica_id = registry, connection, replica_id
        self._interval = interval
        self._collected: dict[str, tuple[float | None, int]] = {}
        """Load and sessions in flight by the last heartbeat of each service."""
        self._wanted, self._tasks = asyncio.Event(), Tasks()
        registry.spread_heartbeats_with(self._collect)
        changelog.subscribe("heartbeats", self._apply, self._read_anew)

    async def start(self) -> None:
        self._tasks.spawn(self._run(), name="heartbeats", for_all=True)

    async def aclose(self) -> None:
        """Append what is collected, as far as that is possible."""
        await self._tasks.aclose()
        await self._append()

    def _collect(self, instance: Instance) -> None:
        self._collected[instance.service.service_id] = instance.load, instance.in_flight_at_report
        self._wanted.set()

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._append()
            except Exception:
                log.exception("heartbeats_fault")
            await asyncio.sleep(self._interval)

    async def _append(self) -> None:
        """What can't be appended is kept for the next time."""
        collected, self._collected = self._collected, {}
        try:
            while collected:
                ids = list(collected)[:PER_ENTRY]
                content = CONTENT.dump_json([(service_id, *collected[service_id]) for service_id in ids])
                await self._connection.run(TELL, [self._connection.keys.changes], [self._replica_id, content])
                for service_id in ids:
                    del collected[service_id]
        except RedisAway:
            self._wanted.set()
        finally:
            self._collected = collected | self._collected

    def _apply(self, entry: Entry) -> None:
        if entry.fields.get(b"replica") == self._replica_id.encode():
            return
        try:
            heartbeats = CONTENT.validate_json(entry.fields.get(b"content", b""))
        except ValueError:  # of a newer version of this program
            return
        for service_id, load, in_flight in heartbeats:
            self._registry.adopt_heartbeat(service_id, load=load, in_flight=in_flight)

    async def _read_anew(self) -> None:
        """The latest heartbeats: others may have told of them while this replica read nothing. Raises RedisAway."""
        changes = self._connection.keys.changes
        latest = await self._connection.call("XREVRANGE", changes, "+", "-", "COUNT", ENTRIES_READ_ANEW)
        oldest = int(latest[0][0].partition(b"-")[0]) - READ_ANEW_SINCE * 1000 if latest else 0
        for entry_id, flat in reversed(latest):
            fields = dict(zip(flat[::2], flat[1::2], strict=True))
            if fields.pop(b"k") == b"heartbeats" and int(entry_id.partition(b"-")[0]) >= oldest:
                self._apply(Entry(entry_id.decode(), "heartbeats", fields))
