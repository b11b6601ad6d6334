"""The lock that logging never blocks on."""

from __future__ import annotations

import subprocess
import sys
from threading import Event, Thread

import pytest

from http_api.observability.logs.unwaited import UnwaitedLock
from scripts.repository import ROOT

pytestmark = pytest.mark.unit


def test_an_item_put_while_the_lock_is_held_is_left_for_the_next_holder() -> None:
    taken: list[int] = []
    lock = UnwaitedLock(taken.append)
    lock.put(1)
    held, over = Event(), Event()

    def hold() -> None:
        with lock:
            held.set()
            over.wait()

    holder = Thread(target=hold)
    holder.start()
    held.wait()
    lock.put(2)
    lock.put(3)
    assert taken == [1]
    over.set()
    holder.join()
    lock.put(4)
    assert taken == [1, 2, 3, 4]


def test_items_left_for_the_lock_are_seen_by_the_next_reader() -> None:
    taken: list[int] = []
    lock = UnwaitedLock(taken.append)
    with lock:
        lock.put(1)
        left = Thread(target=lock.put, args=(2,))
        left.start()
        left.join()
        assert taken == [1], "the holder's own is taken in at once"
    with lock:
        assert taken == [1, 2]


# One thread logs, and another uses the shipper's backlog and the recent logs, while garbage is made whose finalizers
# log: in either thread, in the middle of anything. With locks that wait for each other it ends within some thousand
# lines.
LOGGED_FROM_EVERYWHERE = """
import asyncio, gc, io, os, sys, threading, time
import structlog
from http_api.observability import logs
from http_api.observability.logs.recent import RecentLogs
from http_api.observability.shipping.backlog import Backlog
from manager_agent.store.store import Change
from tests.unit.sessions import a_session

gc.set_threshold(50, 10, 10)
backlog, recent = Backlog(), RecentLogs()
recent.follow(Change("s1", None, a_session()))
logs.configure(
    dev=False, level="info", secrets=[], stream=io.StringIO(),
    sinks=[lambda entry: backlog.put(entry.line.encode()), recent.take],
)
log, lines = structlog.get_logger(), 0

def use():
    while True:
        backlog.due_in()
        if batch := backlog.take():
            backlog.keep(batch)
        backlog.stats()
        recent.of("s1")

def watch():
    seen = -1
    while seen != lines:
        seen = lines
        time.sleep(10)
    os._exit(3)

async def fails():
    raise ValueError("never retrieved")

async def main():
    global lines
    for thread in (use, watch):
        threading.Thread(target=thread, daemon=True).start()
    while lines < 30_000:
        cycle = [asyncio.create_task(fails())]
        cycle.append(cycle)
        await asyncio.sleep(0)
        del cycle
        for _ in range(20):
            log.info("line", session_id="s1", number=lines)
            lines += 1

asyncio.run(main())
os._exit(0)
"""


def test_finalizers_that_log_at_any_point_never_deadlock() -> None:
    done = subprocess.run([sys.executable, "-c", LOGGED_FROM_EVERYWHERE], cwd=ROOT, timeout=170)
    assert done.returncode == 0, "deadlock: no thread made progress"
