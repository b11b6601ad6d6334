"""The log of changes while Redis is stopped, frozen, emptied and trimmed at random moments: what a request was told of
is never missing, and at the end each mirror is as Redis is."""

from __future__ import annotations

import asyncio
import random
from itertools import count
from pathlib import Path

import pytest

from manager_agent.redis.connection import RedisAway
from tests.redis_server import RedisServer
from tests.unit.redis.number_mirror import NumberMirror, mirroring
from tests.waiting import eventually

pytestmark = pytest.mark.unit

FAULTS = 10


class Faults:
    def __init__(self, server: RedisServer, changes: str, chosen: random.Random) -> None:
        self._server, self._changes, self._chosen = server, changes, chosen
        self.emptied = 0
        """Odd while it is being emptied."""

    async def happen(self) -> None:
        for _ in range(FAULTS):
            await asyncio.sleep(self._chosen.random() * 0.3)
            match self._chosen.choice(("freeze", "stop", "end connections", "empty", "trim")):
                case "freeze":
                    self._server.freeze()
                    await asyncio.sleep(self._chosen.random() * 2.5)  # longer than a command may take, or not
                    self._server.thaw()
                case "stop":
                    self._server.stop()
                    await asyncio.sleep(self._chosen.random() * 0.3)
                    self._server.start()
                case "end connections":
                    await self._server.command("CLIENT", "KILL", "TYPE", "normal")
                case "empty":
                    self.emptied += 1
                    await self._server.flush()
                    self.emptied += 1
                case "trim":
                    await self._server.command("XTRIM", self._changes, "MAXLEN", 1)


class Writers:
    """Each adds a number by one replica, and looks for it at another."""

    def __init__(self, mirrors: list[NumberMirror], faults: Faults, chosen: random.Random) -> None:
        self._mirrors, self._faults, self._chosen = mirrors, faults, chosen
        self._numbers = count(1)
        self.added = 0
        self.missing: list[int] = []
        self.is_over = False

    async def write(self) -> None:
        while not self.is_over:
            one, other = self._chosen.choices(self._mirrors, k=2)
            number, emptied = next(self._numbers), self._faults.emptied
            try:
                await one.add(number, keeps=50)
                self.added += 1
                await other.changelog.caught_up()
            except RedisAway:
                await asyncio.sleep(0.01)
            else:
                if number not in other.numbers and emptied == self._faults.emptied and emptied % 2 == 0:
                    self.missing.append(number)
            await asyncio.sleep(self._chosen.random() * 0.005)


@pytest.mark.parametrize("seed", [1, 2])
async def test_no_change_is_missing(tmp_path: Path, seed: int) -> None:
    chosen = random.Random(seed)
    with RedisServer(tmp_path, is_limited=True, persists=True) as server:
        async with mirroring() as mirror:
            mirrors = [await mirror(server) for _ in range(3)]
            faults = Faults(server, mirrors[0].connection.keys.changes, chosen)
            writers = Writers(mirrors, faults, chosen)
            writing = [asyncio.create_task(writers.write()) for _ in range(8)]
            await faults.happen()
            writers.is_over = True
            await asyncio.gather(*writing)
            assert writers.missing == []
            assert writers.added > 0
            for one in mirrors:
                assert await eventually("the mirror to be complete", one.has_all)
