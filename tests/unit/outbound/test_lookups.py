"""Lookups of callers' host names: a name server that does not answer occupies a few threads of one caller only."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from manager_agent.outbound.fair_slots import SlotBounds
from manager_agent.outbound.lookups import Lookups, lookups_for

pytestmark = pytest.mark.unit

FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 80))]


class SlowNameServer:
    """Answers names that begin with `slow` only when released."""

    def __init__(self) -> None:
        self.released, self.asked = threading.Event(), list[str]()

    def __call__(self, host: str, *_: Any) -> list[Any]:
        self.asked.append(host)
        if host.startswith("slow"):
            self.released.wait(30)
        return FOUND


@pytest.fixture
def name_server() -> Iterator[SlowNameServer]:
    server = SlowNameServer()
    yield server
    server.released.set()


async def test_slow_name_server_of_one_caller_delays_no_other_and_not_the_default_executor(
    name_server: SlowNameServer,
) -> None:
    lookups = Lookups(bounds=SlotBounds(8, 3, 1, waiting_per_owner=100), timeout=20.0, resolve=name_server)

    async def look_up(owner: str, host: str) -> str:
        with lookups_for(owner):
            return (await lookups.resolve(host, 80))[0]["host"]

    slow = [asyncio.create_task(look_up("rival", f"slow-{number}")) for number in range(90)]
    while len(name_server.asked) < 3:
        await asyncio.sleep(0.001)
    assert await look_up("acme", "asr.example") == "10.0.0.1"
    assert await asyncio.to_thread(lambda: "the disk") == "the disk"
    assert len(name_server.asked) == 4
    for task in slow:
        task.cancel()


async def test_lookup_that_takes_too_long_fails_and_keeps_its_slot(name_server: SlowNameServer) -> None:
    lookups = Lookups(bounds=SlotBounds(1, 1, 1, waiting_per_owner=1), timeout=0.05, resolve=name_server)
    with pytest.raises(OSError, match="not resolved within"):
        await lookups.resolve("slow", 80)
    with pytest.raises(OSError, match="not resolved within"):
        await lookups.resolve("asr.example", 80)
    assert name_server.asked == ["slow"]


async def test_more_lookups_than_may_wait_fail_at_once(name_server: SlowNameServer) -> None:
    lookups = Lookups(bounds=SlotBounds(1, 1, 1, waiting_per_owner=1), timeout=20.0, resolve=name_server)
    waiting = [asyncio.create_task(lookups.resolve(f"slow-{number}", 80)) for number in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(OSError, match="too many host names"):
        await lookups.resolve("asr.example", 80)
    for task in waiting:
        task.cancel()


async def test_localhost_is_resolved() -> None:
    assert "127.0.0.1" in [found["host"] for found in await Lookups().resolve("localhost", 80, socket.AF_UNSPEC)]
