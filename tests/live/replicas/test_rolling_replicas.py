"""Replicas are replaced one after the other, as by a rolling update: sessions are handed over, in order."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack

import pytest

from session_manager_client import Client
from tests.chaos.rolling_restarts import CLIENT_PATIENCE, EagerBot, LastingCall, RollingOutcome, visit
from tests.live.replicas.act_audit import acts_of, double_owners
from tests.live.replicas.conftest import StartSite
from tests.live.room_watch import ManagersInRoom

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

CALLS, VISITORS = 5, 2


async def test_rolling_update_loses_no_session_and_no_request(start_site: StartSite) -> None:
    site, outcome, stop = await start_site(replicas=2), RollingOutcome(), asyncio.Event()
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        bot = await enter(EagerBot())
        client = await enter(Client(site.url, max_wait=CLIENT_PATIENCE))
        await client.register(**bot.registration())
        calls = [await LastingCall.of(client, outcome) for _ in range(CALLS)]
        watches = [await enter(ManagersInRoom(site.livekit, call.room_name)) for call in calls]
        visitors = [asyncio.create_task(visit(client, outcome, stop)) for _ in range(VISITORS)]
        for replica in list(site.replicas):
            await site.start_replica()
            assert await replica.end(signal.SIGTERM) == 0, replica.tail
            site.replicas.remove(replica)
            outcome.restarts += 1
        stop.set()
        await asyncio.gather(*visitors)
        for call in calls:
            await site.owner(call.room_name)
        missing = max(watch.longest_without for watch in watches)
        outcome.two_managers = max(watch.longest for watch in watches)
        for call in calls:
            await call.is_going_on()
    print(f"{outcome}; a manager was missing for at most {missing:.2f} s")
    assert outcome.failed == []
    assert outcome.lost == []
    assert double_owners(acts_of(site.ever)) == []
