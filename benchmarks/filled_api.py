"""The whole API in this process, with a stand-in for LiveKit that answers at once, and sessions that are ready."""

from __future__ import annotations

import io
import time
from contextlib import AsyncExitStack
from functools import reduce

from benchmarks.longest_step import NoAgent, NoReconciler, OnlyProcess, QuickRooms
from benchmarks.watching import SERVICES, a_course
from http_api.access.principals import DEVELOPER
from http_api.bootstrap import ComponentTypes, compose
from http_api.observability import logs
from http_api.observability.sinks import LogSinks
from http_api.server import serving
from http_api.settings.secret_values import secret_values
from http_api.settings.settings import DevSettings
from manager_agent.session.session import Session, User
from manager_agent.session.transitions import apply
from manager_agent.store.memory import MemoryStore
from manager_agent.store.store import Store
from scripts.free_ports import free_port


async def an_api(sessions: int, stack: AsyncExitStack) -> tuple[int, MemoryStore]:
    """Returns its port and its store, with so many sessions."""
    settings = DevSettings(_env_file=None, server_port=free_port(), sessions_max=1_000_000, log_level="error")
    logs.configure(dev=False, level="error", secrets=secret_values(settings), stream=io.StringIO(), sinks=())
    types = ComponentTypes(acting=OnlyProcess, rooms=QuickRooms, agent=NoAgent, reconciler=NoReconciler)
    parts = compose(settings, LogSinks(), types=types)
    await stack.enter_async_context(serving(parts))
    assert isinstance(parts.store, MemoryStore)
    await _fill(parts.store, sessions)
    return settings.server_port, parts.store


async def _fill(store: Store, sessions: int) -> None:
    """Sessions that are ready, without their control loops: they do nothing on their own."""
    now = time.time()
    ready = list(a_course(now))[:-3]
    for number in range(sessions):
        name = f"ses_{number:026}"
        asked = Session(name, name, User("alice"), now, SERVICES, owner=DEVELOPER.name)
        await store.add(reduce(apply, ready, asked))
