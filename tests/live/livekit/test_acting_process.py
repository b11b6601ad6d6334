"""Which process of a deployment acts, as LiveKit knows it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from manager_agent.livekit.acting_process import ActingProcess
from manager_agent.livekit.livekit_clock import LiveKitClock
from manager_agent.livekit.turn_register import TurnRegister
from tests.byte_proxy import ByteFault, ByteProxy
from tests.live.conftest import KEY, SECRET, Site
from tests.livekit_faults import emptied
from tests.livekit_proxy import LiveKitProxy, is_about_who_acts
from tests.waiting import waiting_for

pytestmark = pytest.mark.live

STOOD_STILL = 0.3
"""Seconds for which the test was held up by its machine: a process that was rightly does not act for a moment."""


class Processes(AsyncExitStack):
    async def start(self, url: str) -> ActingProcess:
        """A process that asks this LiveKit who acts. It acts."""
        clock = LiveKitClock(time.time)
        process = ActingProcess(
            TurnRegister(url=url, api_key=KEY, api_secret=SECRET, deployment="default", livekit_clock=clock)
        )
        self.push_async_callback(process.aclose)
        await process.start()
        await acts(process)
        return process


async def acts(process: ActingProcess) -> None:
    async with waiting_for("the process to act", lambda: process.why_not):
        await process.until_acting()


@pytest.fixture
async def processes() -> AsyncIterator[Processes]:
    async with Processes() as processes:
        yield processes


async def test_process_acts_on_although_lists_lack_the_register(processes: Processes, proxy: LiveKitProxy) -> None:
    process = await processes.start(proxy.url)
    lacking = proxy.on("ListRooms", emptied, where=is_about_who_acts)
    for times in range(1, 6):
        await lacking.applied(times)
        assert process.may_act
    assert not process.is_superseded


async def test_newer_process_waits_and_takes_over_although_lists_lack_the_register(
    processes: Processes, proxy: LiveKitProxy, site: Site
) -> None:
    older = await processes.start(site.livekit.url)
    superseded = asyncio.Event()
    older.when_superseded(superseded.set)
    proxy.on("ListRooms", emptied, where=is_about_who_acts)
    await processes.start(proxy.url)
    assert not older.may_act
    async with waiting_for("the older process to be superseded", lambda: older.why_not):
        await superseded.wait()


async def test_process_that_is_alone_acts_on_at_once_when_livekit_is_back(processes: Processes, site: Site) -> None:
    """LiveKit has lost the register."""
    process = await processes.start(site.livekit.url)
    await site.livekit.stop()
    async with waiting_for("the process to act no more", lambda: process.why_not):
        while process.may_act:
            await asyncio.sleep(0.05)
    assert not await process.held()
    assert process.why_not == "LiveKit can't be reached: Connection refused"
    await site.livekit.start()
    await acts(process)
    assert not process.is_superseded


async def test_process_acts_without_a_break_though_livekit_is_far_away(processes: Processes, site: Site) -> None:
    """Each answer takes more than a second and a half."""
    async with ByteProxy(site.livekit.port) as far:
        far.set(ByteFault(latency=0.8))
        process = await processes.start(f"ws://127.0.0.1:{far.port}")
        stood_still = 0.0
        for _ in range(60):
            began = time.monotonic()
            await asyncio.sleep(0.1)
            stood_still = max(stood_still, time.monotonic() - began - 0.1)
            assert process.may_act or stood_still > STOOD_STILL, process.why_not
        await process.aclose()
        assert (await processes.start(site.livekit.url))._state.acts_from < 0, "the turn was released"


async def test_process_that_stops_lets_the_next_one_act_without_a_pause(processes: Processes, site: Site) -> None:
    stopped = await processes.start(site.livekit.url)
    await stopped.aclose()
    assert not stopped.may_act
    process = await processes.start(site.livekit.url)
    assert process._state.acts_from < 0, "it waited for no other process"
    assert process.turn > stopped.turn
