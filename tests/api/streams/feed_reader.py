"""Readers of the feed of everything."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.api.stand_ins import Api
from tests.waiting import waiting_for

PATH = "/api/v1/events"
LINE_MAX = 16 * 1024 * 1024
"""Bytes of the longest event that a reader takes."""


MakeSessions = Callable[..., Awaitable[list[str]]]


@dataclass
class Feed:
    """One reader, event by event."""

    answer: aiohttp.ClientResponse
    told: list[tuple[str, Any]] = field(default_factory=list)
    """The name and data of each event so far."""

    async def next(self) -> tuple[str, Any]:
        """The next event. Raises EOFError at the end of the answer."""
        async with waiting_for("the next event of the feed", lambda: self.told[-5:]):
            return await self._next()

    async def _next(self) -> tuple[str, Any]:
        fields: dict[str, str] = {}
        while raw := await self.answer.content.readline():
            line = raw.decode().rstrip("\r\n")
            name, _, value = line.partition(": ")
            if line and name:
                assert name not in fields, f"{name} is given twice in one event"
                fields[name] = value
            elif not line and "data" in fields:
                assert fields.keys() == {"event", "data"}
                self.told.append((fields["event"], json.loads(fields["data"])))
                return self.told[-1]
            elif not line:
                assert fields.keys() <= {"retry"}
                fields = {}
        raise EOFError

    async def until(self, name: str, wanted: Callable[[Any], bool] = lambda _: True) -> Any:
        """The data of the next event of that name that is as wanted."""
        while True:
            event, data = await self.next()
            if event == name and wanted(data):
                return data

    async def rest(self) -> list[tuple[str, Any]]:
        """The events until the answer ends."""
        before = len(self.told)
        with suppress(EOFError):
            while True:
                await self.next()
        return self.told[before:]


def by_id(told: list[tuple[str, Any]]) -> dict[str, Any]:
    """The latest event of each session."""
    return {data["session_id"]: data for name, data in told if name == "session"}


@dataclass
class Readers:
    """Makes readers; their connections are closed after the test."""

    api: Api
    opened: list[aiohttp.ClientResponse] = field(default_factory=list)

    async def reader(self, proof: dict[str, str] | None = None) -> Feed:
        self.opened.append(
            answer := await self.api.http.get(
                PATH, headers=proof, timeout=aiohttp.ClientTimeout(total=None), read_bufsize=LINE_MAX
            )
        )
        assert answer.status == 200, await answer.text()
        return Feed(answer)

    def close(self) -> None:
        for answer in self.opened:
            answer.close()
