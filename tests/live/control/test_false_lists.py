"""A livekit-server whose answers are not true: lists that lack rooms and participants, rooms that can't be deleted, a
node that is dead and listed, no node for a new room, and no LiveKit at all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit import api

from manager_agent.control import orchestrator, reconcile, unowned_rooms
from manager_agent.control.missed_rooms import FEW
from manager_agent.livekit import calls, server_api
from manager_agent.session import deadlines, plan, transitions
from manager_agent.session.events import ParticipantLeft
from manager_agent.session.session import EndReason, Session, SessionState
from manager_agent.store.store import UnknownSession
from tests.live.conftest import Site, Stack, StartStack
from tests.live.humans import Human, over, ready_session
from tests.livekit_faults import Hold, altered, emptied, failing, without_participant
from tests.livekit_proxy import LiveKitProxy
from tests.scraped_metrics import scrape
from tests.waiting import eventually, waiting_for

pytestmark = pytest.mark.live

ALONE: dict[str, Any] = {"user_identity": "alice", "required_services": []}
LOOKS = 8
"""More listings than it takes to believe them."""
TRIES_MAX = 40
"""To delete a room: the pauses between them double, however long the test takes."""


@pytest.fixture
async def proxied(proxy: LiveKitProxy, start_stack: StartStack, site: Site, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """A stack whose calls of LiveKit pass the proxy, and which lists its rooms often."""
    monkeypatch.setattr(plan, "LISTING_INTERVAL", 0.3)
    return await start_stack(site, LIVEKIT_SERVER_URL=proxy.url)


async def running_call(stack: Stack) -> Session:
    """A session with its service, its manager and its user in the room."""
    session = await ready_session(stack, await stack.bot("asr"))
    await Human().join(session)
    return await stack.until(session["session_id"], lambda s: s.state is SessionState.ACTIVE and s.manager.is_connected)


async def unwatched(stack: Stack, session: Session) -> Session:
    """The session once its manager is gone."""
    await stack.manager.aclose()
    return await stack.until(session.session_id, lambda latest: not latest.manager.in_charge)


# --- participants -----------------------------------------------------------------------------------


async def test_a_call_goes_on_while_listings_lack_everyone_whom_the_manager_sees(
    proxied: Stack, proxy: LiveKitProxy
) -> None:
    session = await running_call(proxied)
    lacking = proxy.on("ListParticipants", emptied)
    await lacking.applied(LOOKS)
    latest = proxied.store.get(session.session_id)
    assert (latest.state, latest.services[0].attempt, latest.user_left_at) == (SessionState.ACTIVE, 1, None)
    assert latest.revision == session.revision


async def test_one_listing_without_the_user_ends_nothing_even_without_a_manager(
    proxied: Stack, proxy: LiveKitProxy
) -> None:
    session = await unwatched(proxied, await running_call(proxied))
    lacking = proxy.on("ListParticipants", altered(without_participant("alice", session.services[0].identity or "")))
    await proxied.until(session.session_id, lambda latest: latest.user_presence.misses == 1)
    lacking.lift()
    found = await proxied.until(session.session_id, lambda latest: latest.doubts == 0)
    assert (found.state, found.services[0].attempt, found.user_left_at) == (SessionState.ACTIVE, 1, None)


async def test_a_user_whom_listings_lack_is_back_when_one_shows_it(proxied: Stack, proxy: LiveKitProxy) -> None:
    """Even if the nodes did not answer for it when they were asked."""
    session = await unwatched(proxied, await running_call(proxied))
    lacking = proxy.on("ListParticipants", altered(without_participant("alice")))
    proxy.on("UpdateSubscriptions", failing(503, "unavailable", "no response from servers"))
    away = await proxied.until(session.session_id, lambda latest: latest.state is SessionState.READY)
    assert not away.user_presence.here
    lacking.lift()
    back = await proxied.until(session.session_id, lambda latest: latest.state is SessionState.ACTIVE)
    assert back.user_presence.sid == session.user_presence.sid


async def test_a_call_goes_on_without_a_manager_while_listings_lack_everyone(
    proxied: Stack, proxy: LiveKitProxy
) -> None:
    """The nodes have the user and the service. They are asked for the manager too if its leave isn't known yet."""
    session = await unwatched(proxied, await running_call(proxied))
    lacking = proxy.on("ListParticipants", emptied)
    await lacking.applied(LOOKS)
    asked = {request.identity for request in proxy.requests("UpdateSubscriptions")}
    latest = proxied.store.get(session.session_id)
    assert (latest.state, latest.services[0].attempt, latest.user_left_at) == (SessionState.ACTIVE, 1, None)
    assert asked >= {session.user.identity, session.services[0].identity}


async def test_a_user_who_leaves_unnoticed_is_missed_once_no_node_has_it(
    start_stack: StartStack, silent_site: Site
) -> None:
    stack = await start_stack(silent_site)
    asked = await ready_session(stack, await stack.bot("asr"))
    human = Human()
    await human.join(asked)
    session = await stack.until(
        asked["session_id"], lambda s: s.state is SessionState.ACTIVE and s.manager.is_connected
    )
    await unwatched(stack, session)
    await human.leave()
    left = await stack.until(session.session_id, lambda latest: not latest.user_presence.here)
    assert left.services[0].presence.here


async def test_a_webhook_about_a_leave_that_did_not_happen_is_found_out(proxied: Stack, proxy: LiveKitProxy) -> None:
    """The manager sees the user and the service. Nothing changes while LiveKit is asked."""
    session = await running_call(proxied)
    user, service = session.user_presence, session.services[0]
    await proxied.until(session.session_id, lambda s: all(map(s.is_watched, (s.user_presence, s.services[0].presence))))
    for identity, sid in ((session.user.identity, user.sid), (service.identity, service.presence.sid)):
        assert identity
        assert sid
        await proxied.store.update(session.session_id, ParticipantLeft(proxied.clock(), identity, sid))
    checked = await proxied.until(session.session_id, lambda s: all(p.leave_reported_at is None for p in s.presences))
    assert (checked.state, checked.services[0].attempt, checked.user_left_at) == (SessionState.ACTIVE, 1, None)
    assert checked.revision == session.revision


# --- rooms --------------------------------------------------------------------------------------------


async def rounds(stack: Stack, times: int) -> None:
    reconciler = stack.new_reconciler()
    for _ in range(times):
        await reconciler.round()


async def test_sessions_go_on_while_no_room_is_listed(proxied: Stack, proxy: LiveKitProxy) -> None:
    """Their managers are in the rooms. Nothing is deleted."""
    session = await running_call(proxied)
    proxy.on("ListRooms", emptied)
    lacking = proxy.on("ListParticipants", emptied)
    await lacking.applied(LOOKS)
    await rounds(proxied, LOOKS)
    latest = proxied.store.get(session.session_id)
    assert (latest.state, latest.room.misses > 1) == (SessionState.ACTIVE, True)
    assert len(proxied.logged_of(session.session_id, "room_missed")) == 1
    assert proxy.requests("DeleteRoom") == []


async def test_a_call_goes_on_without_a_manager_while_no_room_is_listed(
    proxied: Stack, proxy: LiveKitProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its node has the room, and another manager is dispatched into it."""
    monkeypatch.setattr(server_api, "LOOK_PAUSES", ())
    session = await running_call(proxied)
    lists = [proxy.on(method, emptied) for method in ("ListRooms", "ListParticipants")]
    await unwatched(proxied, session)
    await proxied.logged("room_unlisted", times=1)
    await lists[1].applied(lists[1].ended + 2)
    await rounds(proxied, LOOKS)
    await eventually("another dispatch", lambda: _requests(proxy, "CreateDispatch"), bool)
    latest = proxied.store.get(session.session_id)
    assert (latest.state, latest.services[0].attempt, latest.user_left_at) == (SessionState.ACTIVE, 1, None)
    assert proxy.requests("DeleteRoom") == []


async def test_one_list_without_the_room_ends_nothing_even_without_a_manager(
    proxied: Stack, proxy: LiveKitProxy
) -> None:
    session = await unwatched(proxied, await running_call(proxied))
    lacking = proxy.on("ListRooms", emptied, times=1, where=lambda request: not request.names)
    await rounds(proxied, 1)
    await lacking.applied()
    found = await proxied.until(session.session_id, lambda latest: latest.room.misses == 0)
    assert found.state is SessionState.ACTIVE


async def test_a_deleted_room_ends_its_session_when_no_manager_is_in_it(
    start_stack: StartStack, silent_site: Site
) -> None:
    stack = await start_stack(silent_site)
    session = await unwatched(stack, await running_call(stack))
    await stack.livekit.room.delete_room(api.DeleteRoomRequest(room=session.room_name))
    ended = await over(stack, session.session_id)
    assert ended.end is not None
    assert ended.end.reason is EndReason.ROOM_CLOSED


async def test_lists_that_would_end_many_sessions_at_once_are_doubted(proxied: Stack, proxy: LiveKitProxy) -> None:
    sessions = [await proxied.request(prefer="wait=10", user_identity=f"user-{n}") for n in range(FEW + 2)]
    proxy.on("ListRooms", emptied)
    await rounds(proxied, 1)  # all are missed at once
    await proxied.logged("room_list_doubted", times=1)
    lacking = proxy.on("ListParticipants", emptied)
    await proxied.manager.aclose()
    await lacking.applied(LOOKS * len(sessions))
    assert {proxied.store.get(session["session_id"]).state for session in sessions} == {SessionState.READY}
    assert proxy.requests("DeleteRoom") == []


async def test_a_room_is_deleted_with_its_session_though_one_list_lacks_it(proxied: Stack, proxy: LiveKitProxy) -> None:
    session = await proxied.request(prefer="wait=10")
    lacking = proxy.on("ListRooms", emptied, where=lambda request: session["room_name"] in request.names, times=2)
    await (await proxied.http.delete(f"/api/v1/sessions/{session['session_id']}")).release()
    assert lacking.ended == 2
    await proxied.has_no_rooms()


# --- a dead node --------------------------------------------------------------------------------------


async def test_a_room_of_a_dead_node_is_closed_though_it_stays_listed(
    proxied: Stack, proxy: LiveKitProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "SILENCE_MAX", 1.0)
    monkeypatch.setattr(plan, "WAITING_LISTING_INTERVAL", 0.2)
    session = await running_call(proxied)
    proxy.on("ListDispatch", failing(503, "unavailable", "no response from servers"))
    await unwatched(proxied, session)
    ended = await over(proxied, session.session_id)
    assert ended.end is not None
    assert ended.end.reason is EndReason.ROOM_CLOSED


async def test_a_call_goes_on_without_a_manager_while_its_node_answers(
    proxied: Stack, proxy: LiveKitProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "SILENCE_MAX", 0.5)
    monkeypatch.setattr(plan, "WAITING_LISTING_INTERVAL", 0.2)
    session = await unwatched(proxied, await running_call(proxied))
    asked = len(proxy.requests("ListDispatch"))
    await eventually("several answers", lambda: _requests(proxy, "ListDispatch"), lambda n: n > asked + LOOKS)
    assert proxied.store.get(session.session_id).state is SessionState.ACTIVE


async def _requests(proxy: LiveKitProxy, method: str) -> int:
    return len(proxy.requests(method))


# --- rooms that can't be deleted ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", [failing(500, "internal", "broken"), failing(404, "not_found", "no such room")], ids=["500", "404"]
)
async def test_a_room_that_cannot_be_deleted_is_tried_a_few_times_and_its_session_forgotten(
    proxy: LiveKitProxy, start_stack: StartStack, site: Site, monkeypatch: pytest.MonkeyPatch, fault: Any
) -> None:
    for module, name, seconds in (
        (transitions, "CLEAN_UP_PAUSE", 0.2),
        (plan, "UNCLEANED_KEPT", 0.0),
        (plan, "NAME_QUARANTINE", 0.0),
        (unowned_rooms, "PAUSE", 0.2),
        (reconcile, "INTERVAL", 0.05),
    ):
        monkeypatch.setattr(module, name, seconds)
    stack = await start_stack(site, LIVEKIT_SERVER_URL=proxy.url, session_retention=3)
    session = await stack.request(prefer="wait=10")
    undeletable = proxy.on("DeleteRoom", fault)
    await (await stack.http.delete(f"/api/v1/sessions/{session['session_id']}")).release()

    async def is_forgotten() -> bool:
        try:
            stack.store.get(session["session_id"])
        except UnknownSession:
            return True
        return False

    await eventually("the session to be forgotten", is_forgotten)

    async def counted() -> float:
        return (await scrape(stack.http)).total("session_manager_rooms_undeletable")

    await eventually("the room to be counted", counted, lambda count: count == 1)
    print(tries := len(proxy.requests("DeleteRoom")), "tries")
    assert tries <= TRIES_MAX
    undeletable.lift()
    await eventually("no rooms", stack.rooms, lambda rooms: not rooms)
    await eventually("no room to be counted", counted, lambda count: count == 0)


async def test_a_session_ends_while_livekit_hangs_on_the_deletion_of_its_room(
    proxied: Stack, proxy: LiveKitProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No request waits for the deletion, and no other room."""
    monkeypatch.setattr(orchestrator, "SETTLE_TIMEOUT", 0.1)
    session = await proxied.request(prefer="wait=10")
    hanging = proxy.on("DeleteRoom", hold := Hold(), where=lambda request: request.room == session["room_name"])
    async with proxied.http.delete(f"/api/v1/sessions/{session['session_id']}") as answer:
        ended = await answer.json()
    await hold.reached()
    assert (answer.status, ended["state"]) == (200, "ended")
    assert not proxied.store.get(session["session_id"]).is_cleaned_up
    other = await proxied.request(prefer="wait=10")
    await (await proxied.http.delete(f"/api/v1/sessions/{other['session_id']}")).release()
    await eventually("the other room to be deleted", proxied.rooms, lambda rooms: rooms == [session["room_name"]])
    assert hanging.ended == 0
    hold.release()
    await proxied.until(session["session_id"], lambda latest: latest.is_cleaned_up)
    await eventually("no rooms", proxied.rooms, lambda rooms: not rooms)


# --- no LiveKit, no node --------------------------------------------------------------------------------


async def test_requests_are_refused_without_a_session_while_livekit_is_away(
    proxied: Stack, proxy: LiveKitProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "ANSWERED_LATELY", 0.0)
    await proxy.refuse()
    before = (await scrape(proxied.http)).by("state", "session_manager_sessions")
    for path, body in (("sessions", ALONE), ("token", {})):
        async with proxied.http.post(f"/api/v1/{path}", json=body) as answer:
            assert (answer.status, (await answer.json())["type"].rsplit(":")[-1]) == (503, "room_unavailable")
            assert int(answer.headers["Retry-After"]) > 0
    assert list(proxied.store.list()) == []
    assert (await scrape(proxied.http)).by("state", "session_manager_sessions") == before
    await proxy.accept()

    async def created() -> int:
        async with proxied.http.post("/api/v1/sessions", json=ALONE) as answer:
            return answer.status

    await eventually("a session", created, lambda status: status == 201)


async def test_requests_are_refused_at_once_while_livekit_hangs(
    proxied: Stack, proxy: LiveKitProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They share one check, and once that has failed none waits for the next one."""
    monkeypatch.setattr(calls, "CHECK_PAUSE", 0.0)
    monkeypatch.setattr(calls, "ANSWERED_LATELY", 0.0)
    hanging = proxy.on("ListRooms", hold := Hold(), where=lambda request: calls.CHECKED_ROOM in request.names)

    async def created(_: object = None) -> int:
        async with proxied.http.post("/api/v1/sessions", json=ALONE) as answer:
            assert answer.status == 201 or int(answer.headers["Retry-After"]) > 0
            return answer.status

    for checks, timeout in ((1, 1.0), (2, 3_600.0)):
        monkeypatch.setattr(calls, "CHECK_TIMEOUT", timeout)
        async with waiting_for("answers", proxied.sessions):
            assert await asyncio.gather(*map(created, range(3))) == [503] * 3
        assert hanging.begun == checks
    assert list(proxied.store.list()) == []
    hold.release()
    await eventually("a session", created, lambda status: status == 201)


@pytest.mark.parametrize("message", ["could not find any available nodes", "no response from servers"])
async def test_a_room_is_requested_again_while_livekit_cannot_serve(
    proxied: Stack, proxy: LiveKitProxy, message: str
) -> None:
    """As long as the session has time, at most five seconds."""
    busy = proxy.on("CreateRoom", failing(503, "unavailable", message), times=8)
    session = await proxied.request(prefer="wait=20")
    assert session["state"] == "ready"
    assert busy.ended == 8
    proxy.on("CreateRoom", failing(503, "unavailable", message))
    async with proxied.http.post("/api/v1/sessions", json=ALONE | {"ready_timeout": 1}) as answer:
        assert answer.status == 503
