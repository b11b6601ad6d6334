"""POST /api/v1/sessions/{session_id}/participants: further participants of a session."""

from __future__ import annotations

from typing import Any

import jwt
import pytest

from manager_agent.session import events as ev
from manager_agent.session.events import ParticipantInfo
from tests.api.stand_ins import Api, StartApi

pytestmark = pytest.mark.api


async def add(api: Api, session: dict[str, Any], **body: Any) -> tuple[int, Any, Any]:
    return await api.ask("POST", f"/sessions/{session['session_id']}/participants", {"identity": "bob"} | body)


def slug(problem: dict[str, Any]) -> str:
    return str(problem["type"]).rpartition(":")[2]


async def test_further_participant_gets_its_own_token_for_the_room(api: Api) -> None:
    _, _, session = await api.open(user_name="Alice", metadata={"plan": "gold"}, user_attributes={"a": "b"})
    status, headers, bob = await add(
        api, session, name="Bob", attributes={"c": "d"}, grants={"can_publish": False}, metadata="m"
    )
    assert (status, headers["Cache-Control"]) == (201, "no-store")
    claims = jwt.decode(bob.pop("access_token"), "secret", algorithms=["HS256"])
    assert bob.pop("token_expires_at").endswith("Z")
    room = session["room_name"]
    assert bob == {"identity": "bob", "name": "Bob", "room_name": room, "server_url": "ws://localhost:7880"}
    assert claims["video"] == {
        "roomJoin": True,
        "room": room,
        "canPublish": False,
        "canSubscribe": True,
        "canPublishData": True,
    }
    told = {name: claims[name] for name in ("sub", "name", "attributes", "metadata")}
    assert told == {
        "sub": "bob",
        "name": "Bob",
        "attributes": {"c": "d", "session.id": session["session_id"]},
        "metadata": "m",
    }


async def test_adding_a_participant_changes_no_stored_session(api: Api) -> None:
    _, _, session = await api.open()
    before = api.parts.store.get(session["session_id"])
    for identity in ("bob", "bob", "carol"):
        assert (await add(api, session, identity=identity))[0] == 201
    assert api.parts.store.get(session["session_id"]) is before


async def test_further_participant_is_409_unless_the_session_is_ready(api: Api) -> None:
    await api.register("asr-service")
    _, _, session = await api.open("asr-service")
    status, _, problem = await add(api, session)
    assert (status, slug(problem), problem["state"]) == (409, "no_token", "waiting")
    await api.say_ready(session["session_id"], "asr-service")
    assert (await add(api, session))[0] == 201
    await api.ask("DELETE", f"/sessions/{session['session_id']}")
    assert (await add(api, session))[0] == 409


async def test_participant_identity_in_the_room_is_taken(api: Api) -> None:
    """The user's own identity, and that of an agent named by LiveKit."""
    agent = {"service_id": "echo", "agent_name": "echo", "metadata": {"type": "AGENT"}}
    await api.ask("POST", "/microservices/register", agent)
    _, _, session = await api.open("echo")
    await api.livekit.invited.wait()
    seen = ParticipantInfo("agent-AJ_1", "PA_1", joined_ms=1, is_agent=True, attributes={"lk.agent.name": "echo"})
    await api.parts.store.update(session["session_id"], ev.ParticipantSeen(api.parts.clock(), seen))
    signal = ev.ServiceSignalled(api.parts.clock(), "agent-AJ_1", ev.Signal.READY, ev.Evidence.MESSAGE)
    await api.parts.store.update(session["session_id"], signal)
    for identity in ("alice", "agent-AJ_1"):
        status, _, problem = await add(api, session, identity=identity)
        assert (status, slug(problem)) == (409, "identity_taken")
        assert identity in problem["detail"]
    body = {"room_name": session["room_name"], "participant_identity": "agent-AJ_1"}
    status, _, problem = await api.ask("POST", "/token", body)
    assert (status, slug(problem)) == (409, "identity_taken")


async def test_participant_identity_with_the_sm_prefix_is_refused(api: Api) -> None:
    _, _, session = await api.open()
    status, _, problem = await add(api, session, identity="sm-asr-1")
    assert (status, problem["errors"][0]["field"]) == (422, "identity")


async def test_participant_grants_are_limited_by_user_grants(start_api: StartApi) -> None:
    api = await start_api(user_grants=("can_publish", "can_subscribe"))
    _, _, session = await api.open()
    status, _, problem = await add(api, session, grants={"can_publish": True, "can_update_own_metadata": True})
    assert (status, [bad["field"] for bad in problem["errors"]]) == (422, ["grants.can_update_own_metadata"])


async def test_participant_of_an_unknown_session_is_404(api: Api) -> None:
    assert (await add(api, {"session_id": "ses_nope"}))[0] == 404
