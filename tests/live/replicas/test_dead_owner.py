"""The replica that acts for a session is killed, or frozen and thawed: another one takes over, and no one notices."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from tests.live.humans import Human
from tests.live.replicas.act_audit import acts_of, double_owners
from tests.live.replicas.calls import ReplicaCall
from tests.live.replicas.conftest import StartSite
from tests.live.replicas.replica import ReplicaProcess
from tests.live.room_watch import ManagersInRoom
from tests.waiting import eventually

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]

FROZEN = 15.0
"""Seconds: more than twice a lease."""


async def test_session_of_a_killed_replica_is_taken_over_unnoticed(start_site: StartSite) -> None:
    site = await start_site(replicas=3)
    call = await ReplicaCall.of(site, await site.bot("asr"), site.replicas[0])
    waiting_bot = await site.bot("tts")
    waiting = await site.request(call.owner, "tts")
    await waiting_bot.invited()
    follower = call.others[0]
    long_poll = asyncio.create_task(follower.ask("GET", f"/sessions/{waiting['session_id']}", Prefer="wait=50"))
    async with ManagersInRoom(site.livekit, call.room_name) as managers:
        killed_at = time.monotonic()
        await call.owner.kill()
        site.replicas.remove(call.owner)
        await site.owner(call.room_name)
        print(f"taken over {time.monotonic() - killed_at:.1f} s after kill -9")
        for replica in call.others:
            await call.goes_on(replica)
        print(f"two managers for {managers.longest:.1f} s")
    await waiting_bot.join()
    status, ready = await long_poll
    assert (status, ready["state"]) == (200, "ready")
    user = Human()
    await user.join(ready)
    await call.others[1].until(waiting["session_id"], "active")
    assert len({invite.id for invite in waiting_bot.invites}) == 1
    await call.ends(follower)
    assert double_owners(acts_of(site.ever)) == []


async def test_thawed_replica_lets_go_of_what_others_took_over(start_site: StartSite) -> None:
    site = await start_site(replicas=2)
    call = await ReplicaCall.of(site, await site.bot("asr"), site.replicas[0])
    frozen, [other] = call.owner, call.others
    async with ManagersInRoom(site.livekit, call.room_name) as managers:
        frozen.send(signal.SIGSTOP)
        until_thawed = time.monotonic() + FROZEN
        late_token = asyncio.create_task(frozen.ask("POST", f"/sessions/{call.id}/token"))
        status, _ = await other.ask("POST", f"/sessions/{call.id}/token")
        assert status in (200, 201, 503)

        async def managers_here() -> list[str]:
            return await site.managers(call.room_name)

        await eventually("the other replica's manager", managers_here, lambda here: other.id in here, every=0.2)
        print(f"taken over {time.monotonic() - until_thawed + FROZEN:.1f} s after SIGSTOP")
        await asyncio.sleep(max(0.0, until_thawed - time.monotonic()))
        frozen.send(signal.SIGCONT)
        await eventually("it lets go", lambda: lets_go(frozen, call.id), every=0.1)
        assert await site.owner(call.room_name) is other
        status, answer = await late_token
        assert status in (200, 201, 503), answer
        for replica in (frozen, other):
            await replica.until_ready()
            await call.goes_on(replica)
        print(f"two managers for {managers.longest:.1f} s")
    await call.ends(frozen)
    assert double_owners(acts_of(site.ever)) == []


async def lets_go(replica: ReplicaProcess, session_id: str) -> bool:
    return bool(replica.logged("session_let_go", session_id=session_id))
