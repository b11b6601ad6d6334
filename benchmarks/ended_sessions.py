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

from benchmarks.measuring import times
from benchmarks.watching import SERVICES, a_course
from http_api.settings.settings import DevSettings
from manager_agent.clock import SteadyClock
from manager_agent.json_object import JsonObject
from manager_agent.session import events as ev
from manager_agent.session.session import Session, User
from manager_agent.store.ended_sessions import EndedSessions
from manager_agent.store.memory import MemoryStore

MIB = 1024 * 1024
OPENED = 20_000
UNBOUNDED = EndedSessions(per_caller=OPENED, in_all=OPENED)
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


async def main() -> None:
    cases = (
        ("1,000, 1 caller, small metadata", 1_000, 1, SMALL, bounded()),
        ("20,000, 10 callers, small metadata", OPENED, 10, SMALL, bounded()),
        ("20,000, 10 callers, 16 KiB of metadata", OPENED, 10, LARGE, bounded()),
        ("20,000, small metadata, without limits", OPENED, 1, SMALL, UNBOUNDED),
    )
    print(f"{'sessions opened and closed':<42} {'kept':>6} {'MiB':>7}          {'KiB each':>8}")
    floor: float | None = None
    for name, opened, callers, metadata, ended in cases:
        kept, size = await used(opened, callers, metadata, ended)
        floor = floor or size
        print(f"{name:<42} {kept:>6} {size / MIB:>7.1f}  {times(size, floor):<7} {size / kept / 1024:>8.1f}")
    print(f"{'metadata of 16 KiB, as text':<42} {'':>6} {'':>7}  {'':<7} {len(LARGE.raw) / 1024:>8.1f}")
    size = size_of(LARGE.parsed())
    print(f"{'metadata of 16 KiB, as Python objects':<42} {'':>6} {'':>7}  {'':<7} {size / 1024:>8.1f}")


if __name__ == "__main__":
    asyncio.run(main())
