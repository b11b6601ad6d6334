"""Measure the memory of ended sessions: `python -m benchmarks.ended_sessions`.

Sessions are opened and closed in the store, without network. A closed one is kept to be read, up to the limits of
SESSIONS_KEPT_PER_CALLER and SESSIONS_KEPT.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from types import FunctionType, ModuleType
from typing import Any

from benchmarks.command import BenchmarkCommand
from benchmarks.result import Figure, FigureTable, Layout
from benchmarks.watching import SERVICES, a_course
from http_api.settings.settings import DevSettings
from manager_agent.clock import SteadyClock
from manager_agent.json_object import JsonObject
from manager_agent.session import events as ev
from manager_agent.session.session import Session, User
from manager_agent.store.ended_sessions import EndedSessions
from manager_agent.store.memory import MemoryStore

MIB = 1024 * 1024
OPENED, QUICK = 20_000, 200
SMALL = JsonObject.of({"language": "en"})
LARGE = JsonObject.of({"list": [{}] * 5_400})
"""16 KiB of `[{},{},...]`."""


async def used(opened: int, callers: int, metadata: JsonObject, ended: EndedSessions) -> tuple[int, float]:
    """The sessions that are kept after so many were opened and closed, and their memory in bytes."""
    store, now = MemoryStore(SteadyClock(), ended=ended), time.time()
    for number in range(opened):
        session_id, kept = f"ses_{number:026}", JsonObject(bytes(bytearray(metadata.raw)))
        owner = f"caller-{number % callers}"
        await store.add(Session(session_id, session_id, User("alice"), now, SERVICES, metadata=kept, owner=owner))
        for event in (*a_course(now), ev.CleanUpStarted(now), ev.CleanedUp(now)):
            await store.update(session_id, event)
    return sum(1 for _ in store.list()), size_of(store)


def size_of(root: Any) -> int:
    """The memory of everything that can be reached from an object, in bytes; what is shared counts once."""
    seen, rest, size = {id(root)}, [root], 0
    while rest:
        item = rest.pop()
        size += sys.getsizeof(item)
        for inner in gc.get_referents(item):
            if id(inner) not in seen and not isinstance(inner, type | ModuleType | FunctionType):
                seen.add(id(inner))
                rest.append(inner)
    return size


def bounded() -> EndedSessions:
    settings = DevSettings(_env_file=None)
    return EndedSessions(per_caller=settings.sessions_kept_per_caller, in_all=settings.sessions_kept)


async def measure(opened: int) -> FigureTable:
    few, unbounded = opened // 20, EndedSessions(per_caller=opened, in_all=opened)
    cases = (
        (f"{few:,}, 1 caller, small metadata", few, 1, SMALL, bounded()),
        (f"{opened:,}, 10 callers, small metadata", opened, 10, SMALL, bounded()),
        (f"{opened:,}, 10 callers, 16 KiB of metadata", opened, 10, LARGE, bounded()),
        (f"{opened:,}, small metadata, without limits", opened, 1, SMALL, unbounded),
    )
    figures = []
    for name, number, callers, metadata, ended in cases:
        kept, size = await used(number, callers, metadata, ended)
        figures += [
            Figure(work=name, by="kept", value=kept),
            Figure(work=name, by="all of them", unit="MiB", value=size / MIB),
            Figure(work=name, by="each", unit="KiB", value=size / kept / 1024),
        ]
    metadata_sizes = {"text": len(LARGE.raw), "Python objects": size_of(LARGE.parsed())}
    figures += [
        Figure(work=f"metadata of 16 KiB, as {form}", by="each", unit="KiB", value=size / 1024)
        for form, size in metadata_sizes.items()
    ]
    return FigureTable(title="Sessions opened and closed", figures=figures, layout=Layout.GRID)


def main() -> None:
    command = BenchmarkCommand("ended_sessions", __doc__)
    command.add_size("opened", OPENED, QUICK, "sessions")
    command.finish(asyncio.run(measure(command.read().opened)))


if __name__ == "__main__":
    main()
