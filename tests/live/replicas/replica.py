"""One replica as a process of its own, and what its log says about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.live.conftest import Site
from tests.live.manager_process import ManagerProcess

ENTRY = re.compile(r"(?P<at>\d{4}-\S+) \[\w+ *\] (?P<event>\S+)(?P<rest>.*)")
FIELD = re.compile(r"(\w+)=('[^']*'|\S+)")


@dataclass(frozen=True, slots=True)
class LoggedLine:
    """One entry of the log in dev mode."""

    at: float
    """Seconds since the epoch."""
    event: str
    fields: dict[str, str]


class ReplicaProcess(ManagerProcess):
    """A process of a deployment with REDIS_URL. A restarted one keeps its port and its log, and is another replica."""

    def __init__(self, site: Site, *, name: str, folder: Path, **environment: str) -> None:
        super().__init__(site, port=None, log=folder / f"{name}.log", **environment)
        self.name, self.id = name, ""
        self.is_dev = True

    def __repr__(self) -> str:
        return f"<ReplicaProcess {self.name} {self.id} on {self.port} [{'running' if self.is_running else 'ended'}]>"

    @property
    def arguments(self) -> tuple[str, ...]:
        return super().arguments if self.is_dev else ("-m", self.module)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def until_ready(self) -> None:
        """Return once it is ready to serve, and is known by its id."""
        await super().until_ready()
        self.id = (await self.health())["replica_id"]

    async def health(self) -> dict[str, Any]:
        async with self.http.get("/health") as answer:
            health: dict[str, Any] = await answer.json()
            return health

    def lines(self, *events: str) -> Iterator[LoggedLine]:
        """The entries with these event names, oldest first."""
        for line in self.log.read_text(errors="replace").splitlines():
            if (read := _read(line)) is not None and read.event in events:
                yield read

    def logged(self, event: str, **wanted: str) -> list[LoggedLine]:
        """The entries with this event name and these fields."""
        return [line for line in self.lines(event) if wanted.items() <= line.fields.items()]


def _read(line: str) -> LoggedLine | None:
    """None for what is no entry: the output of native code, and the further lines of a traceback."""
    if (found := ENTRY.match(line)) is None:
        return None
    fields = {name: value.strip("'") for name, value in FIELD.findall(found["rest"])}
    return LoggedLine(datetime.fromisoformat(found["at"]).timestamp(), found["event"], fields)
