"""The manager in the room: hidden, exactly one, and replaced when it is gone."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from livekit import api, rtc

from http_api.app_keys import AGENT, ROOMS
from manager_agent.control import orchestrator
from manager_agent.livekit import calls
from manager_agent.livekit.calls import LiveKitUnavailable
from manager_agent.livekit.room_watcher import Watcher
from manager_agent.messages import DispatchMetadata, RoomStatus
from manager_agent.session.session import EndReason, SessionState
from tests.live.conftest import Site, Stack, StartStack
from tests.live.humans import Human, over, ready_session
from tests.live.managers import is_watched, managers, take_no_job, worker_name
from tests.livekit_faults import Call, Hold, failing
from tests.livekit_proxy import LiveKitProxy
from tests.waiting import eventually, waiting_for

pytestmark = pytest.mark.live

ALONE = {"user_identity": "alice", "required_services": []}


async def test_manager_is_hidden_from_users(stack: Stack) -> None:
    session = await stack.request(prefer="wait=10")
    await stack.until(session["session_id"], is_watched)
    human = Human()
    await human.join(session)
    assert dict(human.room.remote_participants) == {}
    assert len(await managers(stack, session["room_name"])) == 1
    await human.leave()


@pytest.mark.parametrize("by", ["taken at once", "offered by LiveKit"])
async def test_no_room_comes_back_for_a_manager_that_was_joining_when_it_was_deleted(
    stack: Stack, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LiveKit makes the room again, without metadata, for a participant that joins at that moment."""
    if by == "offered by LiveKit":
        take_no_job(monkeypatch)

    async def end_while_the_manager_joins(number: int) -> None:
        session = await stack.request(user_identity=f"user-{number}", prefer="wait=10")
        await stack.until(session["session_id"], lambda latest: latest.manager.accepted_at is not None)
        await asyncio.sleep(0.004 * (number % 20))
        async with stack.http.delete(f"/api/v1/sessions/{session['session_id']}") as answer:
            assert answer.status == 200

    for batch in range(0, 60, 6):
        await asyncio.gather(*map(end_while_the_manager_joins, range(batch, batch + 6)))
    await eventually("all rooms to be gone", stack.rooms, lambda rooms: not rooms)
    await eventually(
        "all managers to be gone", lambda: asyncio.sleep(0, stack.app[AGENT].rooms_held), lambda held: not held
    )


@pytest.mark.parametrize("by", ["taken at once", "offered by LiveKit"])
async def test_removed_manager_is_replaced_and_the_session_stays_ready(
    stack: Stack, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by == "offered by LiveKit":
        take_no_job(monkeypatch)
    bot = await stack.bot("asr", ready_on="signal")
    asking = asyncio.create_task(stack.request("asr", prefer="wait=20"))
    await bot.invited()
    await bot.join()
    await bot.say_by_attribute()
    session = await asking
    first = (await stack.until(session["session_id"], is_watched)).manager
    await stack.livekit.room.remove_participant(
        api.RoomParticipantIdentity(room=session["room_name"], identity=first.identity or "")
    )
    latest = await stack.until(session["session_id"], lambda s: is_watched(s) and s.manager.identity != first.identity)
    assert latest.state is SessionState.READY
    assert latest.manager.attempt == first.attempt + 1
    assert await managers(stack, session["room_name"]) == [latest.manager.identity]
    answer = await bot.say_by_rpc(to=lambda: latest.manager.identity)
    assert answer["ok"] is True
    [room] = (await stack.livekit.room.list_rooms(api.ListRoomsRequest(names=[session["room_name"]]))).rooms
    status = RoomStatus.read(room.metadata)
    assert status is not None
    assert status.manager_identity == latest.manager.identity


async def test_dropped_manager_dispatch_is_repeated(start_stack: StartStack, site: Site) -> None:
    """LiveKit silently drops the job of a room created while no agent server is connected."""
    stack = await start_stack(site)
    await stack.manager.aclose()
    session = await stack.request(prefer="wait=10")
    await stack.until(session["session_id"], lambda s: s.manager.attempt == 2)
    await stack.manager.start()
    watched = await stack.until(session["session_id"], is_watched)
    assert await managers(stack, session["room_name"]) == [watched.manager.identity]


async def test_waiting_session_fails_without_a_manager(start_stack: StartStack, site: Site) -> None:
    stack = await start_stack(site)
    await stack.manager.aclose()
    await stack.bot("asr")
    async with stack.http.post(
        "/api/v1/sessions", json={"user_identity": "alice", "required_services": ["asr"]}
    ) as answer:
        assert answer.status == 503, await answer.text()
        assert int(answer.headers["Retry-After"]) > 0
    [session] = stack.store.list()
    assert session.end is not None
    assert session.end.reason is EndReason.ROOM_UNAVAILABLE
    await over(stack, session.session_id)
    assert await stack.rooms() == []


async def test_second_job_for_a_room_makes_no_second_manager(stack: Stack) -> None:
    """Dispatch what a slow machine may see: a second job of the older attempt, and a later one."""
    session = await stack.request(prefer="wait=10")
    first = await stack.until(session["session_id"], is_watched)
    for attempt in (1, 2):
        note = DispatchMetadata(session_id=session["session_id"], attempt=attempt).model_dump_json()
        await stack.livekit.agent_dispatch.create_dispatch(
            api.CreateAgentDispatchRequest(room=session["room_name"], agent_name=worker_name(stack), metadata=note)
        )
    await stack.logged("job_taken_already", times=1)
    await stack.logged("job_rejected", times=1)
    assert await managers(stack, session["room_name"]) == [first.manager.identity]


async def test_jobs_with_unknown_sessions_or_foreign_metadata_are_rejected(stack: Stack) -> None:
    await stack.livekit.room.create_room(api.CreateRoomRequest(name="foreign"))
    for metadata in ("", "not ours", DispatchMetadata(session_id="ses_nobody", attempt=1).model_dump_json()):
        await stack.livekit.agent_dispatch.create_dispatch(
            api.CreateAgentDispatchRequest(room="foreign", agent_name=worker_name(stack), metadata=metadata)
        )
    await stack.logged("job_not_ours", times=2)
    await stack.logged("job_rejected", times=1)
    assert await stack.participants("foreign") == []
    await stack.livekit.room.delete_room(api.DeleteRoomRequest(room="foreign"))


async def test_livekit_outage_is_503_and_leaves_nothing(
    start_stack: StartStack, silent_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "ANSWERED_LATELY", 0.0)
    stack = await start_stack(silent_site)
    bot = await stack.bot("asr")
    await silent_site.livekit.stop()
    try:
        body = {"user_identity": "alice", "required_services": ["asr"]}
        async with stack.http.post("/api/v1/sessions", json=body) as answer:
            problem = await answer.json()
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) > 0
            assert problem["status"] == 503
        assert (list(stack.store.list()), bot.invites) == ([], [])
    finally:
        await silent_site.livekit.start()
    assert await stack.rooms() == []


async def test_manager_reconnects_after_a_livekit_restart(start_stack: StartStack, silent_site: Site) -> None:
    """A restarted server has no rooms: those without people are made again, and new ones are managed again."""
    stack = await start_stack(silent_site)
    session = await stack.request(prefer="wait=10")
    watched = await stack.until(session["session_id"], is_watched)
    await silent_site.livekit.stop()
    await silent_site.livekit.start()
    await stack.until(session["session_id"], lambda s: is_watched(s) and s.room.sid not in ("", watched.room.sid))
    again = await stack.request(prefer="wait=10")
    await stack.until(again["session_id"], is_watched)


async def test_deep_health_creates_a_session_and_leaves_nothing(stack: Stack) -> None:
    answers = await asyncio.gather(*(stack.http.get("/health?deep=true") for _ in range(3)))
    proofs = [await answer.json() for answer in answers]
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert {proof["status"] for proof in proofs} == {"ok"}
    assert len({proof["took_ms"] for proof in proofs}) == 1, "those who ask at once share one proof"
    await stack.has_no_rooms()


async def test_deep_health_names_the_failing_step_without_waiting_for_the_clean_up(
    start_stack: StartStack, site: Site, proxy: LiveKitProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orchestrator, "SETTLE_TIMEOUT", 3_600.0)
    stack = await start_stack(site, LIVEKIT_SERVER_URL=proxy.url)
    hold = Hold()

    async def fails(call: Call) -> Any:
        proxy.on("ListRooms", hold)  # the clean-up looks for the room
        return await failing()(call)

    proxy.on("CreateRoom", fails)
    async with waiting_for("the answer", stack.log.getvalue), stack.http.get("/health?deep=true") as answer:
        problem = await answer.json()
    assert (answer.status, problem["detail"]) == (503, "LiveKit did not create a room")
    hold.release()


async def test_deep_health_opens_no_session_while_livekit_is_away(
    start_stack: StartStack, site: Site, proxy: LiveKitProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "ANSWERED_LATELY", 0.0)
    stack = await start_stack(site, LIVEKIT_SERVER_URL=proxy.url)
    await proxy.refuse()
    async with stack.http.get("/health?deep=true") as answer:
        problem = await answer.json()
    assert (answer.status, problem["detail"]) == (503, "LiveKit did not create a room")
    assert list(stack.store.list()) == []
    await proxy.accept()


async def test_manager_reconnecting_under_a_new_sid_stays_the_only_one(stack: Stack) -> None:
    """The SDK's full reconnect: LiveKit reports a leave, and the manager comes back by itself."""
    session = await stack.request(prefer="wait=10")
    first = await stack.until(session["session_id"], is_watched)
    await stack.logged("manager_joined", times=1)
    [watcher] = [
        found for found in gc.get_objects() if isinstance(found, Watcher) and found._identity == first.manager.identity
    ]
    await watcher._room.simulate_scenario(rtc.SimulateScenarioKind.SIMULATE_FULL_RECONNECT)
    back = await stack.until(
        session["session_id"],
        lambda s: is_watched(s) and s.manager.presence.sid != first.manager.presence.sid,
    )
    assert await managers(stack, session["room_name"]) == [back.manager.identity]
    if back.manager.attempt == 1:  # else it took longer than a manager may be away, and another one came
        assert back.manager.identity == first.manager.identity


@contextmanager
def hung(site: Site) -> Iterator[None]:
    """Suspend livekit-server: it accepts connections and answers nothing."""
    assert site.livekit._process is not None
    pid = site.livekit._process.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_hanging_livekit_is_503_and_leaves_no_session(
    start_stack: StartStack, silent_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request does not wait for it once it is known to be away."""
    stack = await start_stack(silent_site)
    monkeypatch.setattr(calls, "CHECK_PAUSE", 3_600.0)
    monkeypatch.setattr(calls, "CHECK_TIMEOUT", 0.5)

    async def is_away() -> bool:
        with suppress(LiveKitUnavailable):
            await stack.app[ROOMS].check()
        return stack.app[ROOMS].is_away

    with hung(silent_site):
        await eventually("LiveKit to be away", is_away)  # it may have answered a question just before
        monkeypatch.setattr(calls, "CHECK_TIMEOUT", 3_600.0)
        async with stack.http.post("/api/v1/sessions", json=ALONE) as answer:
            assert answer.status == 503, await answer.text()
    assert list(stack.store.list()) == []


async def test_room_that_livekit_creates_too_late_is_deleted(
    proxy: LiveKitProxy, start_stack: StartStack, site: Site
) -> None:
    """LiveKit may create the room after the request to delete it: then the reconciler finds the orphan."""
    stack = await start_stack(site, LIVEKIT_SERVER_URL=proxy.url)
    created = proxy.on("CreateRoom", hold := Hold())
    async with stack.http.post("/api/v1/sessions", json=ALONE) as answer:
        assert answer.status == 503, await answer.text()
    [session] = stack.store.list()
    await over(stack, session.session_id)
    hold.release()
    await created.applied(created.begun)
    await eventually("no rooms", stack.rooms, lambda rooms: not rooms, every=0.1)


async def test_process_stops_while_livekit_hangs(start_stack: StartStack, silent_site: Site) -> None:
    stack = await start_stack(silent_site)
    session = await stack.request(prefer="wait=10")
    await stack.until(session["session_id"], is_watched)
    with hung(silent_site):
        async with waiting_for("the process to stop", lambda: stack.log.getvalue()[-2_000:]):
            await stack.stop()
    await asyncio.to_thread(silent_site.restart)


async def test_a_stop_that_ends_sessions_deletes_rooms_and_notifies_services(
    start_stack: StartStack, site: Site
) -> None:
    stack = await start_stack(site, stop_ends_sessions=True)
    bot = await stack.bot("asr")
    session = await ready_session(stack, bot)
    await stack.until(session["session_id"], is_watched)  # a manager that joins for long makes the room again
    assert await stack.rooms() == [session["room_name"]]
    await stack.stop()
    assert (await bot.told_goodbye()).reason == EndReason.CLOSED
    assert await stack.rooms() == []


async def test_missed_leave_is_found_by_the_next_manager(start_stack: StartStack, silent_site: Site) -> None:
    """Without webhooks the service leaves while there is no manager: the next manager lists the room."""
    stack = await start_stack(silent_site)
    bot = await stack.bot("asr")
    session = await ready_session(stack, bot)
    await stack.until(session["session_id"], is_watched)
    await stack.manager.aclose()
    await stack.until(session["session_id"], lambda s: not s.manager.in_charge)
    await bot.leave()
    await stack.manager.start()
    await stack.until(session["session_id"], lambda s: s.state is SessionState.DEGRADED)
