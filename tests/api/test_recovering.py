"""While sessions of an earlier process are not recovered yet, the answer is 503 to what is about them, and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from manager_agent.livekit.listed_room import ListedRoom
from tests.api.stand_ins import Api, StartApi

pytestmark = pytest.mark.api

BODY = {"user_identity": "alice", "required_services": []}
KEY, OTHER_KEY = {"Idempotency-Key": "same"}, {"Idempotency-Key": "another"}


@pytest.fixture
async def session(start_api: StartApi) -> dict[str, Any]:
    """A session that an earlier process opened for a request with a key."""
    _, _, session = await (await start_api()).ask("POST", "/sessions", BODY, KEY)
    return dict(session)


@pytest.fixture
async def recovering(start_api: StartApi, session: dict[str, Any]) -> Api:
    """An API that can't read the room of this session yet."""
    room = ListedRoom(session["room_name"], "RM_left", session["session_id"], is_ours=True)
    api = await start_api(left_behind=[room])
    assert (await api.ask("GET", "//health"))[2]["recovery"] == "under way"
    return api


async def test_a_session_that_is_about_to_be_found_is_not_unknown(recovering: Api, session: dict[str, Any]) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/token"), ("GET", "/events"), ("GET", "/timeline")):
        status, headers, problem = await recovering.ask(method, f"/sessions/{session['session_id']}{path}")
        assert (status, headers["Retry-After"]) == (503, "1"), problem
    assert (await recovering.ask("GET", "/sessions"))[0] == 503


async def test_a_session_that_has_no_room_is_unknown_at_once(recovering: Api, session: dict[str, Any]) -> None:
    other = session["session_id"][:-1] + ("0" if session["session_id"][-1] != "0" else "1")
    assert (await recovering.ask("GET", f"/sessions/{other}"))[0] == 404


@pytest.mark.parametrize("more", [{}, {"room_name": "another"}])
@pytest.mark.parametrize("headers", [{}, OTHER_KEY])
async def test_new_sessions_are_opened_meanwhile(
    recovering: Api, more: dict[str, str], headers: dict[str, str]
) -> None:
    status, _, opened = await recovering.ask("POST", "/sessions", {**BODY, **more}, headers)
    assert (status, opened["state"]) == (201, "ready")


async def test_a_repeated_request_waits_for_the_session_of_its_key(recovering: Api) -> None:
    status, headers, _ = await recovering.ask("POST", "/sessions", BODY, KEY)
    assert (status, headers["Retry-After"]) == (503, "1")


@pytest.mark.parametrize("path", ["/sessions", "/token"])
async def test_the_name_of_a_room_that_is_there_is_not_given_again(
    recovering: Api, session: dict[str, Any], path: str
) -> None:
    body = {"room_name": session["room_name"], **(BODY if path == "/sessions" else {})}
    assert (await recovering.ask("POST", path, body))[0] == 503


async def test_a_repeated_token_request_waits_for_the_session_that_it_opened(
    start_api: StartApi, tmp_path: Path
) -> None:
    services = tmp_path / "services.yaml"
    services.write_text("profiles: {plain: []}")
    profile = {"services_file": services, "default_profile": "plain"}
    first, body = await start_api(**profile), {"participant_identity": "alice"}
    assert (await first.ask("POST", "/token", body))[0] == 201
    (session,) = first.parts.store.list()
    room = ListedRoom(session.room_name, "RM_left", session.session_id, is_ours=True)
    recovering = await start_api(left_behind=[room], **profile)
    assert (await recovering.ask("POST", "/token", body))[0] == 503
    assert (await recovering.ask("POST", "/token", {**body, "participant_identity": "bob"}))[0] == 201
