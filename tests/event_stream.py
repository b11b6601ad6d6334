"""A reader of server-sent events that behaves as an EventSource in a browser."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp


@dataclass
class EventSource:
    http: aiohttp.ClientSession
    path: str
    last_id: str | None = None
    """Sent as Last-Event-ID whenever it comes back."""
    retry: int | None = None
    comments: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    """The headers of the last answer."""

    async def connect(self) -> AsyncIterator[Any]:
        """The data of each event, until the stream ends; nothing for a 204."""
        known = {"Last-Event-ID": self.last_id} if self.last_id is not None else {}
        asked = {"Accept": "text/event-stream", **known}
        async with self.http.get(self.path, headers=asked, timeout=aiohttp.ClientTimeout(total=None)) as answer:
            assert answer.status in (200, 204), await answer.text()
            self.headers = dict(answer.headers)
            if answer.status == 204:
                return
            assert answer.content_type == "text/event-stream"
            lines: list[str] = []
            async for raw in answer.content:
                line = raw.decode().rstrip("\r\n")
                if line:
                    lines.append(line)
                    continue
                data, lines = self._take(lines), []
                if data is not None:
                    yield data

    async def follow(self) -> AsyncIterator[Any]:
        """The data of each event, coming back as often as the stream ends, until it is told to stop."""
        while True:
            ended = True
            async for data in self.connect():
                ended = False
                yield data
            if ended:
                return

    def _take(self, lines: list[str]) -> Any:
        fields: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            if name:
                assert name not in fields, f"{name} is given twice in one event"
                fields[name] = value.removeprefix(" ")
            else:
                self.comments.append(value.strip())
        assert fields.keys() <= {"id", "data", "retry"}, "an event with a name does not reach onmessage"
        self.last_id = fields.get("id", self.last_id)
        self.retry = int(fields["retry"]) if "retry" in fields else self.retry
        return json.loads(fields["data"]) if "data" in fields else None
