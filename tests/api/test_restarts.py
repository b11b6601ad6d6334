"""What the records keep over a restart: a second API with the records of the first one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from manager_agent.records.records import Kind
from tests.api.stand_ins import Api, StartApi

pytestmark = pytest.mark.api


async def ended_session(api: Api, **more: Any) -> dict[str, Any]:
    """A session that was opened, ended by DELETE, and cleaned up."""
    status, _, session = await api.open(prefer="", **more)
    assert status == 201
    status, _, ended = await api.ask("DELETE", f"/sessions/{session['session_id']}")
    assert (status, ended["state"], ended["reason"]) == (200, "ended", "closed")
    return dict(ended)


async def test_ended_session_is_read_listed_and_deleted_again_after_a_restart(start_api: StartApi) -> None:
    first = await start_api()
    ended = [await ended_session(first, metadata={"order": n, "note": "天气"}) for n in range(3)]
    second = await start_api(records=first.parts.records)
    for session in ended:
        path = f"/sessions/{session['session_id']}"
        assert (await second.ask("GET", path))[::2] == (200, session)
        assert (await second.ask("DELETE", path))[::2] == (200, session)
    assert (await second.ask("GET", "/sessions?state=ended"))[2]["sessions"] == ended[::-1]
    assert (await second.ask("GET", f"/sessions/{ended[0]['session_id']}/timeline"))[0] == 200


async def test_session_without_retention_is_forgotten_in_the_records_too(start_api: StartApi) -> None:
    """A restart does not keep it longer, and it is deleted with the session."""
    first = await start_api(session_retention=0.0)
    ended = await ended_session(first)
    await first.parts.store.remove(ended["session_id"])
    assert await first.parts.records.load(Kind.ENDED_SESSION) == []
    second = await start_api(records=first.parts.records)
    assert (await second.ask("GET", f"/sessions/{ended['session_id']}"))[0] == 404


async def test_restart_keeps_no_more_ended_sessions_than_the_bound(start_api: StartApi) -> None:
    first = await start_api()
    ended = [await ended_session(first) for _ in range(4)]
    second = await start_api(records=first.parts.records, sessions_kept_per_caller=2)
    listed = (await second.ask("GET", "/sessions"))[2]["sessions"]
    assert [session["session_id"] for session in listed] == [ended[3]["session_id"], ended[2]["session_id"]]


async def test_name_of_an_ended_room_stays_reserved_after_a_restart(start_api: StartApi) -> None:
    """By the tokens that were given out for it."""
    first = await start_api()
    await ended_session(first, room_name="demo")
    second = await start_api(records=first.parts.records)
    assert second.parts.store.name_free_in("demo", "another caller") > 60
    assert second.parts.store.name_free_in("demo", "dev") == first.parts.store.name_free_in("demo", "dev") == 0


async def test_next_process_deletes_the_room_of_a_session_that_was_just_over(start_api: StartApi) -> None:
    """The first one could not, and ended."""
    first = await start_api()
    _, _, session = await first.open(prefer="")
    first.livekit.fails_to_delete = True
    closing = asyncio.create_task(first.ask("DELETE", f"/sessions/{session['session_id']}"))
    await first.until(session["session_id"], lambda latest: latest.end is not None and latest.end.clean_ups > 0)
    second = await start_api(records=first.parts.records)
    second.livekit.rooms.append(session["room_name"])
    await second.until(session["session_id"], lambda latest: latest.end is not None and bool(latest.end.cleaned_at))
    assert second.livekit.rooms == []
    first.livekit.fails_to_delete = False
    await closing


async def test_request_whose_answer_was_not_given_finds_its_session_by_its_key(start_api: StartApi) -> None:
    """The answer failed after the session was opened."""
    api = await start_api()
    body, key = {"user_identity": "alice", "required_services": []}, {"Idempotency-Key": "k"}
    api.livekit.broken = True
    assert (await api.ask("POST", "/sessions", body, key))[0] == 500
    api.livekit.broken = False
    (session,) = api.parts.store.list()
    other = {**body, "user_identity": "bob"}
    assert (await api.ask("POST", "/sessions", other, key))[0] == 422
    status, _, answer = await api.ask("POST", "/sessions", body, key)
    assert (status, answer["session_id"]) == (201, session.session_id)
    assert [each.session_id for each in api.parts.store.list()] == [session.session_id]
    status, _, another = await api.ask("POST", "/sessions", body, {"Idempotency-Key": "K"})
    assert (status, another["session_id"] == session.session_id) == (201, False)


async def test_stored_answer_is_given_by_the_next_process_byte_for_byte(start_api: StartApi) -> None:
    """With the same token, though the session is over and the service is registered again."""
    first = await start_api()
    bodies = {
        "/sessions": {"user_identity": "alice", "required_services": []},
        "/microservices/register": {
            "service_id": "asr",
            "endpoint": "http://127.0.0.1:1/",
            "metadata": {"type": "ASR"},
        },
    }

    async def answers(api: Api) -> list[tuple[int, str | None, bytes]]:
        found = []
        for path, body in bodies.items():
            async with api.http.post(f"/api/v1{path}", json=body, headers={"Idempotency-Key": "k"}) as answer:
                found.append((answer.status, answer.headers.get("Idempotency-Replayed"), await answer.read()))
        return found

    given = await answers(first)
    assert [status for status, _, _ in given] == [201, 201]
    assert b'"access_token"' in given[0][2]
    second = await start_api(records=first.parts.records)
    assert await answers(second) == [(status, "true", body) for status, _, body in given]
