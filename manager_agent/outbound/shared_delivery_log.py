"""The outcomes of callbacks, told to all replicas, so that each lists the same ones.

What happened within a moment is appended to the changelog as one entry: a list of deliveries, as JSON. A replica that
starts later knows those that are not finished, as a process without replicas does.
"""

from __future__ import annotations

import asyncio

from pydantic import TypeAdapter

from manager_agent.outbound.deliveries import Delivery, DeliveryLog
from manager_agent.redis.changelog import ChangeLog, Entry
from manager_agent.redis.connection import RedisAway, RedisConnection
from manager_agent.redis.script import load_script
from manager_agent.tasks import Tasks

TELL = load_script("tell_deliveries")
INTERVAL = 0.25
"""Seconds between two entries of a replica, at least."""
PER_ENTRY = 200
COLLECTED_MAX = 10_000
"""Beyond it the oldest are not told of, while Redis is away."""
CONTENT = TypeAdapter(list[Delivery])


class SharedDeliveryLog:
    def __init__(
        self, delivery_log: DeliveryLog, connection: RedisConnection, changelog: ChangeLog, replica_id: str
    ) -> None:
        self._log, self._connection, self._replica_id = delivery_log, connection, replica_id
        self._collected: dict[str, Delivery] = {}
        self._wanted, self._tasks = asyncio.Event(), Tasks()
        changelog.subscribe("deliveries", self._apply, self._read_anew)

    async def start(self) -> None:
        self._tasks.spawn(self._run(), name="delivery log", for_all=True)

    async def aclose(self) -> None:
        """Append what is collected, as far as that is possible."""
        await self._tasks.aclose()
        await self._append()

    def tell(self, delivery: Delivery) -> None:
        """A delivery of this replica is so now."""
        self._collected.pop(delivery.id, None)
        self._collected[delivery.id] = delivery
        if len(self._collected) > COLLECTED_MAX:
            del self._collected[next(iter(self._collected))]
        self._wanted.set()

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            await self._append()
            await asyncio.sleep(INTERVAL)

    async def _append(self) -> None:
        """What can't be appended is kept for the next time."""
        while told := list(self._collected.values())[:PER_ENTRY]:
            content = CONTENT.dump_json(told)
            try:
                await self._connection.run(TELL, [self._connection.keys.changes], [self._replica_id, content])
            except RedisAway:
                self._wanted.set()
                return
            for delivery in told:
                if self._collected.get(delivery.id) is delivery:
                    del self._collected[delivery.id]

    def _apply(self, entry: Entry) -> None:
        if entry.fields.get(b"replica") == self._replica_id.encode():
            return
        try:
            deliveries = CONTENT.validate_json(entry.fields.get(b"content", b""))
        except ValueError:  # of a newer version of this program
            return
        for delivery in deliveries:
            self._log.put(delivery)

    async def _read_anew(self) -> None:
        """What was missed is not told again: the log is for operators, and bounded anyway."""
