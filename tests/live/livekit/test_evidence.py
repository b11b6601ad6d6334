"""What makes a service ready and unready, with a real livekit-server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from livekit import api, rtc

from http_api.models.responses import SessionView
from manager_agent.livekit.room_connection import connect
from manager_agent.session import retries
from manager_agent.session.attempt import ServiceReason
from manager_agent.session.events import Evidence
from manager_agent.session.session import Session, SessionState
from tests.live.bots import CONNECT_TIMEOUT, QUIETLY, Bot
from tests.live.conftest import KEY, SECRET, Site, Stack, StartStack
from tests.live.humans import Human
from tests.waiting import waiting_for

pytestmark = pytest.mark.live

SIGNAL = {"ready_on": "signal"}


def is_ready(session: Session) -> bool:
    return session.state is SessionState.READY


def is_watched(session: Session) -> bool:
    return session.manager.presence.here


def has_joined(session: Session) -> bool:
    return session.services[0].presence.here


async def invited(stack: Stack, bot: Bot, **session: Any) -> str:
    """Create a session that needs only this bot, wait for the invite, and return the session's id."""
    session_id: str = (await stack.request(bot.service_id, **session))["session_id"]
    await bot.invited()
    return session_id


async def test_join_makes_a_service_ready(stack: Stack) -> None:
    bot = await stack.bot("asr")
    session_id = await invited(stack, bot)
    await bot.join()
    session = await stack.until(session_id, is_ready)
    assert session.services[0].ready_by is Evidence.JOIN
    assert session.services[0].timeline.ready is not None


async def test_join_does_not_make_a_service_with_ready_on_signal_ready(stack: Stack) -> None:
    bot = await stack.bot("asr", **SIGNAL)
    session_id = await invited(stack, bot)
    await bot.join()
    session = await stack.until(session_id, lambda session: has_joined(session) and is_watched(session))
    assert session.state is SessionState.WAITING
    view = await stack.view(session_id)
    assert view["services"][0]["state"] == "joined"
    assert "access_token" not in view


async def test_rpc_makes_a_service_ready_and_is_answered(stack: Stack) -> None:
    bot = await stack.bot("asr", **SIGNAL)
    session_id = await invited(stack, bot)
    await bot.join()
    await stack.until(session_id, is_watched)
    answer = await bot.say_by_rpc()
    session = await stack.until(session_id, is_ready)
    assert answer == {"ok": True, "revision": session.revision}
    assert session.services[0].ready_by is Evidence.MESSAGE


async def test_data_message_makes_a_service_ready_and_is_acknowledged(stack: Stack) -> None:
    bot = await stack.bot("asr", **SIGNAL)
    session_id = await invited(stack, bot)
    await bot.join()
    await stack.until(session_id, is_watched)
    await bot.say_by_data()
    session = await stack.until(session_id, is_ready)
    assert session.services[0].ready_by is Evidence.MESSAGE
    async with waiting_for("the acknowledgement", lambda: bot):
        heard = await bot.heard.get()
    assert heard == {"type": "ack", "invite_id": bot.invites[0].id}


async def test_attribute_makes_a_service_ready(stack: Stack) -> None:
    bot = await stack.bot("asr", **SIGNAL)
    session_id = await invited(stack, bot)
    await bot.join()
    await bot.say_by_attribute()
    session = await stack.until(session_id, is_ready)
    assert session.services[0].ready_by is Evidence.ATTRIBUTE


async def test_http_signal_makes_a_service_ready_before_the_join(stack: Stack) -> None:
    bot = await stack.bot("asr", **SIGNAL)
    session_id = await invited(stack, bot)
    async with await bot.say_by_http(stack.http) as answer:
        assert answer.status == 200, await answer.text()
    session = await stack.until(session_id, is_ready)
    assert session.services[0].ready_by is Evidence.HTTP
    assert session.services[0].timeline.joined is None


async def test_service_that_signals_by_http_and_never_joins_is_replaced(start_stack: StartStack, site: Site) -> None:
    """The user is told. The next instance signals by HTTP too, and joins afterwards."""
    stack = await start_stack(site, service_join_timeout=12)
    bots = {name: await stack.bot(name, **SIGNAL) for name in ("asr-1", "asr-2")}
    session_id = (await stack.request({"type": "BOT"}))["session_id"]
    first = (await stack.until(session_id, lambda session: session.services[0].attempt == 1)).services[0].service_id
    await bots[first].invited()
    await (await bots[first].say_by_http(stack.http)).release()
    await stack.until(session_id, is_ready)
    human = Human()
    await human.join(await stack.view(session_id))
    lost = await stack.until(session_id, lambda session: session.services[0].attempt == 2)
    assert lost.services[0].past[0].shortfall is ServiceReason.NEVER_JOINED
    second = bots[lost.services[0].service_id]
    assert second is not bots[first]
    await human.sees("degraded")
    await second.invited()
    await (await second.say_by_http(stack.http)).release()
    await second.join()
    there = await stack.until(session_id, has_joined)
    assert (there.state, there.services[0].ready_by) == (SessionState.ACTIVE, Evidence.HTTP)
    assert (await bots[first].told_goodbye()).reason == "replaced"
    await human.leave()


async def test_signals_sent_right_after_the_join_are_not_lost(stack: Stack) -> None:
    """Eight services signal ready as soon as connect() returns, four by RPC and four by one data message each."""
    bots = [await stack.bot(f"bot-{n}", **SIGNAL) for n in range(8)]
    session_id = (await stack.request(*(bot.service_id for bot in bots)))["session_id"]
    await stack.until(session_id, is_watched)

    async def come(bot: Bot, by_rpc: bool) -> None:
        await bot.invited()
        await bot.join()
        await (bot.say_by_rpc() if by_rpc else bot.say_by_data())

    await asyncio.gather(*(come(bot, n % 2 == 0) for n, bot in enumerate(bots)))
    session = await stack.until(session_id, is_ready)
    assert {service.ready_by for service in session.services} == {Evidence.MESSAGE}


async def test_service_in_the_room_before_the_manager_is_found(start_stack: StartStack, site: Site) -> None:
    """There is no manager at its join and its attribute: the manager's sweep finds both."""
    stack = await start_stack(site)
    manager = stack.manager
    await manager.aclose()
    bot = await stack.bot("asr", **SIGNAL)
    session_id = await invited(stack, bot)
    await bot.join()
    await bot.say_by_attribute()
    await stack.until(session_id, has_joined)  # LiveKit's webhook tells, without the attribute
    await manager.start()
    session = await stack.until(session_id, is_ready)
    assert session.services[0].ready_by is Evidence.ATTRIBUTE


async def test_service_that_leaves_may_come_back(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "REJOIN_GRACE", 60.0)
    first, second = await stack.bot("asr"), await stack.bot("llm")
    session_id = (await stack.request("asr", "llm"))["session_id"]
    await asyncio.gather(first.invited(), second.invited())
    await first.join()
    await stack.until(session_id, lambda session: session.services[0].ready_by is not None)
    await first.leave()
    session = await stack.until(session_id, lambda session: session.services[0].current.lost)
    assert session.state is SessionState.WAITING
    shown = SessionView.of(session).model_dump(mode="json")["services"][0]  # before it is invited again
    assert shown.items() >= {"service_id": "asr", "state": "lost", "reason": "left", "attempt": 1}.items()
    assert shown["ready_by"] is None
    await second.join()
    await stack.until(session_id, lambda session: session.services[1].ready_by is not None)
    await first.join()
    await stack.until(session_id, is_ready)


async def test_session_that_loses_a_service_is_degraded_and_gives_no_token(stack: Stack) -> None:
    bot = await stack.bot("asr")
    session_id = await invited(stack, bot)
    await bot.join()
    await stack.until(session_id, is_ready)
    assert "access_token" in await stack.view(session_id)
    await bot.leave()
    await stack.until(session_id, lambda session: session.state is SessionState.DEGRADED)
    assert "access_token" not in await stack.view(session_id)
    async with stack.http.post(f"/api/v1/sessions/{session_id}/token") as answer:
        assert answer.status == 409


async def test_join_is_noticed_by_a_listing_without_webhooks(start_stack: StartStack, silent_site: Site) -> None:
    """The manager's room event takes at least 2,460 ms. Without a manager there is none. How soon is printed."""
    stack = await start_stack(silent_site)
    await stack.manager.aclose()
    bot = await stack.bot("asr")
    session_id = await invited(stack, bot)
    await bot.join()
    joined = stack.clock()
    session = await stack.until(session_id, is_ready)
    assert not session.webhooks_arrive
    assert session.services[0].ready_by is Evidence.JOIN
    print(f"noticed {1_000 * ((session.services[0].timeline.ready or 0.0) - joined):.0f} ms after the join")


async def test_invalid_and_forged_signals_change_nothing(stack: Stack) -> None:
    """A stranger in the room claims to be the service in every way, and sends malformed messages."""
    bot = await stack.bot("asr", **SIGNAL)
    other = await stack.bot("llm")
    session_id = (await stack.request("asr", "llm"))["session_id"]
    invite, _ = await asyncio.gather(bot.invited(), other.invited())
    before = await stack.until(session_id, is_watched)
    stranger = rtc.Room()
    await connect(stranger, stack.site.livekit.url, stranger_token(before.room_name), QUIETLY, CONNECT_TIMEOUT)
    try:
        for payload in (
            json.dumps({"type": "ready", "service_id": "asr"}).encode(),
            json.dumps({"type": "ready", "service_id": "asr", "invite_id": "inv_guessed"}).encode(),
            b'{"type": "ready"',
            b"\xff\xfe\x00",
            b"[" * 5_000,
            b"null",
            b"x" * 60_000,
        ):
            await stranger.local_participant.publish_data(payload, reliable=True, topic="session-manager")
        for said, code in (('{"type": "ready"}', 4030), ("rubbish", 4000), ("y" * 10_000, 4000)):
            with pytest.raises(rtc.RpcError) as error:
                await stranger.local_participant.perform_rpc(
                    destination_identity=invite.manager_identity or "", method="session-manager", payload=said
                )
            assert error.value.code == code
        await stranger.local_participant.set_attributes({"session.state": "ready", "lk.agent.name": "asr"})
        await other.join()
        await other.say_by_data(service_id="asr")  # its own proof, another's name
        session = await stack.until(session_id, lambda session: session.services[1].ready_by is not None)
        await other.say_by_rpc('{"type": "ready", "service_id": "asr"}')  # answered, as itself
        session = await stack.until(session_id, lambda _: True)
        assert session.state is SessionState.WAITING
        assert session.services[0].ready_by is None
        async with await bot.say_by_http(stack.http, token=other.invites[0].token) as answer:
            assert answer.status == 403
        async with await bot.say_by_http(stack.http, token=stranger_token(before.room_name)) as answer:
            assert answer.status == 403
        async with await bot.say_by_http(stack.http, token=stranger_token("another-room")) as answer:
            assert answer.status == 404
        assert (await stack.view(session_id))["services"][0]["state"] == "accepted"
    finally:
        await stranger.disconnect()


async def test_unreadable_rpc_is_logged_with_its_service(stack: Stack) -> None:
    bot = await stack.bot("asr", **SIGNAL)
    session_id = await invited(stack, bot)
    await bot.join()
    await stack.until(session_id, is_watched)
    with pytest.raises(rtc.RpcError):
        await bot.say_by_rpc("rubbish")
    [said] = stack.logged_of(session_id, "rpc_unreadable")
    assert (said["service_id"], said["attempt"]) == ("asr", 1)


def stranger_token(room_name: str) -> str:
    grants = api.VideoGrants(room_join=True, room=room_name, can_update_own_metadata=True)
    return api.AccessToken(KEY, SECRET).with_identity("mallory").with_grants(grants).to_jwt()


async def test_livekit_agent_is_known_by_name_and_ready_after_initializing(stack: Stack) -> None:
    """Simulate a dispatched agent: an AGENT participant under an identity chosen by LiveKit."""
    async with stack.http.post(
        "/api/v1/microservices/register",
        json={"service_id": "echo", "agent_name": "echo-agent", "metadata": {"type": "LLM"}, "ready_on": "signal"},
    ) as answer:
        assert answer.status == 201, await answer.text()
    session = await stack.request("echo")
    await stack.until(session["session_id"], lambda session: session.services[0].timeline.invited is not None)
    agent = rtc.Room()
    token = (
        api.AccessToken(KEY, SECRET)
        .with_identity("agent-AJ_123")
        .with_kind("agent")
        .with_attributes({"lk.agent.name": "echo-agent", "lk.agent.state": "initializing"})
        .with_grants(api.VideoGrants(room_join=True, room=session["room_name"], can_update_own_metadata=True))
    )
    await connect(agent, stack.site.livekit.url, token.to_jwt(), QUIETLY, CONNECT_TIMEOUT)
    try:
        await stack.until(session["session_id"], has_joined)
        assert (await stack.view(session["session_id"]))["state"] == "waiting"
        await agent.local_participant.set_attributes({"lk.agent.state": "listening"})
        ready = await stack.until(session["session_id"], is_ready)
        assert ready.services[0].ready_by is Evidence.ATTRIBUTE
    finally:
        await agent.disconnect()


async def test_phone_is_the_user_once_it_is_picked_up(stack: Stack) -> None:
    """Simulate LiveKit SIP: it joins as a participant of kind SIP and keeps its call's status as an attribute."""
    bot = await stack.bot("asr")
    session_id = await invited(stack, bot)
    await bot.join()
    session = await stack.until(session_id, is_ready)
    phone = rtc.Room()
    token = (
        api.AccessToken(KEY, SECRET)
        .with_identity("alice")
        .with_kind("sip")
        .with_attributes({"sip.callStatus": "dialing"})
        .with_grants(api.VideoGrants(room_join=True, room=session.room_name, can_update_own_metadata=True))
    )
    await connect(phone, stack.site.livekit.url, token.to_jwt(), QUIETLY, CONNECT_TIMEOUT)
    try:
        for status in ("ringing", "automation"):
            await phone.local_participant.set_attributes({"sip.callStatus": status})
            await stack.until(session_id, lambda session: session.user_joined_at is None)
        before = (await stack.view(session_id))["state"]
        await phone.local_participant.set_attributes({"sip.callStatus": "active"})
        active = await stack.until(session_id, lambda session: session.user_joined_at is not None)
        assert (before, active.state) == ("ready", SessionState.ACTIVE)
    finally:
        await phone.disconnect()
