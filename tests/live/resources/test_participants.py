"""What users are given, on a real livekit-server: grants, attributes, a limited stay, further humans, TokenSource."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit import api, rtc
from livekit.rtc.participant import PublishTrackError

from manager_agent.session.session import EndReason, SessionState
from tests.live.conftest import Site, Stack, StartStack
from tests.live.humans import Human, over, ready_session
from tests.waiting import eventually, waiting_for

pytestmark = pytest.mark.live


async def publish(human: Human) -> None:
    track = rtc.LocalAudioTrack.create_audio_track("voice", rtc.AudioSource(48_000, 1))
    await human.room.local_participant.publish_track(track)


async def participant(stack: Stack, room_name: str, identity: str) -> api.ParticipantInfo:
    [found] = [seen for seen in await stack.participants(room_name) if seen.identity == identity]
    return found


async def add(stack: Stack, session: dict[str, Any], **body: Any) -> dict[str, Any]:
    """Add a further participant and return the answer."""
    path = f"/api/v1/sessions/{session['session_id']}/participants"
    async with stack.http.post(path, json=body) as answer:
        given: dict[str, Any] = await answer.json()
        assert answer.status == 201, given
        return given


async def ask_for_token(stack: Stack, identity: str, *agents: str) -> dict[str, Any]:
    """The answer for a TokenSource, in the form that Human.join takes."""
    body = {
        "room_name": "demo-of-tokens",
        "participant_identity": identity,
        "room_config": {"agents": [{"agent_name": name} for name in agents]},
    }
    async with stack.http.post("/api/v1/token", json=body) as answer:
        given = await answer.json()
        assert answer.status == 201, given
        return {"server_url": given["server_url"], "access_token": given["participant_token"]}


async def sees(human: Human, identity: str) -> None:
    """Return once this user's room shows the other participant."""
    async with waiting_for(f"{identity} in the room", lambda: list(human.room.remote_participants)):
        while identity not in human.room.remote_participants:
            await asyncio.sleep(0.02)


async def test_user_grants_are_enforced_and_user_attributes_arrive(stack: Stack) -> None:
    grants = {"can_publish": False, "can_publish_data": False}
    session = await stack.request(prefer="wait=20", user_grants=grants, user_attributes={"plan": "gold"})
    human = Human()
    await human.join(session)
    with pytest.raises(PublishTrackError):
        await publish(human)
    alice = await participant(stack, session["room_name"], "alice")
    assert dict(alice.attributes) == {"plan": "gold", "session.id": session["session_id"]}
    assert len(alice.tracks) == 0
    assert not alice.permission.can_publish
    assert not alice.permission.can_publish_data
    assert not alice.permission.can_update_metadata
    assert alice.permission.can_subscribe
    await human.leave()


async def test_user_may_publish_and_set_granted_attributes(stack: Stack) -> None:
    session = await stack.request(prefer="wait=20", user_grants={"can_update_own_metadata": True})
    human = Human()
    await human.join(session)
    await publish(human)
    await human.room.local_participant.set_attributes({"mood": "good"})
    alice = await eventually(  # the server learns of the track after the SDK has announced it
        "the track of alice", lambda: participant(stack, session["room_name"], "alice"), lambda alice: alice.tracks
    )
    assert dict(alice.attributes) == {"mood": "good", "session.id": session["session_id"]}
    await human.leave()


async def test_session_ends_after_max_duration(stack: Stack) -> None:
    session = await stack.request(prefer="wait=20", max_duration=10)
    human = Human()
    await human.join(session)
    await human.is_out()
    ended = await over(stack, session["session_id"])
    assert ended.end is not None
    assert (ended.state, ended.end.reason) == (SessionState.ENDED, EndReason.EXPIRED)


async def test_further_participant_does_not_keep_the_session_alive(start_stack: StartStack, site: Site) -> None:
    stack = await start_stack(site, user_rejoin_timeout=1)
    session = await ready_session(stack, await stack.bot("asr"))
    alice, bob = Human(), Human()
    await alice.join(session)
    await stack.until(session["session_id"], lambda s: s.state is SessionState.ACTIVE)
    given = await add(stack, session, identity="bob", name="Bob", metadata="of Bob", grants={"can_publish": False})
    await bob.join(given)
    await sees(alice, "bob")
    assert (alice.room.remote_participants["bob"].name, bob.statuses[-1]["state"]) == ("Bob", "active")
    info = await participant(stack, given["room_name"], "bob")
    assert (info.metadata, info.permission.can_publish) == ("of Bob", False)
    await bob.leave()
    again = Human()
    await again.join(given)
    await sees(alice, "bob")
    assert stack.store.get(session["session_id"]).state is SessionState.ACTIVE
    await alice.leave()
    await again.is_out()
    ended = await over(stack, session["session_id"])
    assert ended.end is not None
    assert ended.end.reason is EndReason.USER_LEFT


async def test_token_source_users_of_one_room_meet_with_its_services(stack: Stack) -> None:
    asr, tts = await stack.bot("asr"), await stack.bot("tts", "TTS")
    asking = [asyncio.create_task(ask_for_token(stack, identity, "asr", "TTS")) for identity in ("alice", "bob")]
    invites = await asyncio.gather(asr.invited(), tts.invited())
    await asr.join()
    assert not any(one.done() for one in asking)
    await tts.join()
    alice, bob = Human(), Human()
    await alice.join(await asking[0])
    await bob.join(await asking[1])
    await asyncio.gather(sees(alice, "bob"), sees(bob, "alice"))
    expected = {invite.identity for invite in invites}
    assert set(alice.room.remote_participants) == expected | {"bob"}
    assert (len(asr.invites), len(tts.invites)) == (1, 1)
    assert await stack.rooms() == ["demo-of-tokens"]
    await asyncio.gather(alice.leave(), bob.leave())
