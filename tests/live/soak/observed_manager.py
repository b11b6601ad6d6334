"""The session manager as a program that writes figures about itself into the file SOAK_FIGURES at each SIGUSR1.

With SOAK_LEAKS it loses something in every session: proof that the comparison of these figures finds leaks. With
SOAK_TRACE it also writes where its Python objects were made.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import signal
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import psutil

from http_api.__main__ import main
from manager_agent.session.session import Session
from manager_agent.store.memory import MemoryStore

FIGURES, LEAKS, TRACE = "SOAK_FIGURES", "SOAK_LEAKS", "SOAK_TRACE"
LEAK_SIZE = 4 * 1024 * 1024
"""Bytes a session: far more than the rooms that the SDK frees only seconds after they were left."""
FRAMES = 8
_leaked: list[object] = []
Add = Callable[[MemoryStore, Session], Coroutine[Any, Any, None]]


class Mallinfo(ctypes.Structure):
    """glibc's struct mallinfo2."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks"),
            "keepcost",
        )
    ]


_libc = ctypes.CDLL(None)
_libc.mallinfo2.restype = Mallinfo


def write_figures(*_: object) -> None:
    gc.collect()
    _libc.malloc_trim(0)  # memory that is free but not given back is no leak
    malloc, process = _libc.mallinfo2(), psutil.Process()
    memory, objects = process.memory_full_info(), gc.get_objects()
    tasks = asyncio.all_tasks(asyncio.get_running_loop())
    figures = {
        "uss": memory.uss,
        "pss": memory.pss,
        "allocated": malloc.uordblks + malloc.hblkhd,
        "objects": len(objects),
        "tasks": len(tasks),
        "threads": process.num_threads(),
        "files": process.num_fds(),
    }
    path = Path(os.environ[FIGURES])
    kinds = [type(each).__qualname__ for each in objects]
    kinds += [f"task {getattr(each.get_coro(), '__qualname__', '')}" for each in tasks]
    path.with_suffix(".types").write_text(json.dumps(Counter(kinds)))
    if tracemalloc.is_tracing():
        tracemalloc.take_snapshot().dump(str(path.with_suffix(".trace")))
    path.with_suffix(".new").write_text(json.dumps(figures))
    path.with_suffix(".new").replace(path)


def leak() -> None:
    _leaked.append(os.urandom(LEAK_SIZE))
    _leaked.append(os.open(os.devnull, os.O_RDONLY))
    _leaked.append(asyncio.create_task(asyncio.sleep(3600)))
    thread = threading.Thread(target=time.sleep, args=(3600,), daemon=True)
    thread.start()


def leaking(add: Add) -> Add:
    async def add_and_leak(store: MemoryStore, session: Session) -> None:
        await add(store, session)
        leak()

    return add_and_leak


if __name__ == "__main__":
    if LEAKS in os.environ:
        MemoryStore.add = leaking(MemoryStore.add)  # type: ignore[method-assign,assignment]
    if TRACE in os.environ:
        tracemalloc.start(FRAMES)
    signal.signal(signal.SIGUSR1, write_figures)
    sys.exit(main())
