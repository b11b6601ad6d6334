"""What is written through one replica is read and changed through another at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import jwt
import pytest

from tests.api.stand_ins import Api
from tests.api.streams.feed_reader import Readers
from tests.callback_receiver import CallbackReceiver
from tests.event_stream import EventSource
from tests.waiting import eventually

pytestmark = pytest.mark.api


@pytest.fixture
async def feeds_of_b(b: Api) -> AsyncIterator[Readers]:
    yield (made := Readers(b))
    made.close()


async def a_ready_session(opened_at: Api, ready_at: Api, service_id: str = "asr-1") -> str:
    """The id of a session that one replica opened and that became ready through another."""
    await ready_at.register(service_id)
    status, _, session = await opened_at.open({"service_id": service_id})
    assert status == 202, session
    session_id = str(session["session_id"])

    async def is_invited() -> bool:
        return service_id in ready_at.livekit.invites

    await eventually("the invite", is_invited)
    status, _, answer = await ready_at.say_ready(session_id, service_id)
    assert status == 200, answer
    return session_id


async def test_session_is_ready_and_closed_through_a_replica_that_does_not_own_it(a: Api, b: Api) -> None:
    session_id = await a_ready_session(b, a)
    status, _, shown = await b.ask("GET", f"/sessions/{session_id}")
    assert (status, shown["state"]) == (200, "ready")
    status, _, ended = await a.ask("DELETE", f"/sessions/{session_id}")
    assert (status, ended["state"], ended["reason"]) == (200, "ended", "closed")
    assert b.livekit.rooms == []
    status, _, shown = await b.ask("GET", f"/sessions/{session_id}")
    assert (status, shown["state"]) == (200, "ended")


async def test_each_replica_gives_tokens_of_a_ready_session(a: Api, b: Api) -> None:
    session_id = await a_ready_session(a, b)
    for api in (a, b):
        status, _, given = await api.ask("POST", f"/sessions/{session_id}/token")
        assert status == 200
        claims = jwt.decode(given["access_token"], options={"verify_signature": False})
        assert claims["video"]["room"] == given["room_name"]
        person = {"identity": f"guest-{api.port}"}
        status, _, added = await api.ask("POST", f"/sessions/{session_id}/participants", person)
        assert (status, added["identity"]) == (201, person["identity"])


async def test_lists_and_timelines_are_the_same_at_each_replica(a: Api, b: Api) -> None:
    session_ids = [await a_ready_session(a, b, "asr-1"), await a_ready_session(b, a, "asr-2")]

    async def shown() -> list[Any]:
        """What each replica shows: the sessions may change between two requests."""
        paths = ["/sessions", *(f"/sessions/{session_id}/timeline" for session_id in session_ids)]
        return [[shown_of(await api.ask("GET", path)) for path in paths] for api in (a, b)]

    [[sessions, *timelines], _] = await eventually("the same at both", shown, lambda both: both[0] == both[1])
    assert {session["session_id"] for session in sessions} == set(session_ids)
    assert all(timelines)


def shown_of(answer: tuple[int, Any, Any]) -> Any:
    return answer[2].get("sessions") or answer[2]["steps"]


async def test_services_are_registered_renewed_and_removed_through_each_replica(a: Api, b: Api) -> None:
    body = {"service_id": "asr-1", "endpoint": "http://127.0.0.1:1/", "metadata": {"type": "ASR"}, "lease_seconds": 30}
    assert (await a.ask("POST", "/microservices/register", body))[0] == 201
    assert (await b.ask("POST", "/microservices/register", body))[0] == 200
    status, _, shown = await b.ask("POST", "/microservices/asr-1/heartbeat", {"draining": True})
    assert (status, shown["state"]) == (200, "draining")
    status, _, shown = await a.ask("GET", "/microservices/asr-1")
    assert (status, shown["state"]) == (200, "draining")
    assert (await b.ask("DELETE", "/microservices/asr-1"))[0] == 200
    assert (await a.ask("GET", "/microservices/asr-1"))[0] == 404


async def test_a_request_that_waits_is_answered_when_the_other_replica_learns_more(a: Api, b: Api) -> None:
    await a.register("asr-1")
    creating = asyncio.create_task(b.open({"type": "ASR"}, prefer="wait=30"))
    session = await eventually("the session", lambda: newest(a))
    polling = asyncio.create_task(a.ask("GET", f"/sessions/{session['session_id']}", headers={"Prefer": "wait=30"}))
    await a.has_waiting(1)
    assert (await a.say_ready(session["session_id"], "asr-1"))[0] == 200
    status, _, created = await creating
    assert (status, created["state"]) == (201, "ready")
    status, _, polled = await polling
    assert (status, polled["state"]) == (200, "ready")


async def newest(api: Api) -> Any:
    sessions = (await api.ask("GET", "/sessions"))[2]["sessions"]
    return sessions[0] if sessions else None


async def test_streams_follow_what_happens_through_the_other_replica(a: Api, b: Api, feeds_of_b: Readers) -> None:
    feed = await feeds_of_b.reader()
    await feed.until("snapshot")
    await a.register("asr-1")
    _, _, session = await a.open({"type": "ASR"})
    session_id = session["session_id"]
    states = []
    async for told in EventSource(b.http, f"/api/v1/sessions/{session_id}/events").connect():
        states.append(told["state"])
        if told["state"] == "waiting":
            await a.say_ready(session_id, "asr-1")
        elif told["state"] == "ready":
            await a.ask("DELETE", f"/sessions/{session_id}")
    assert list(dict.fromkeys(states)) == ["waiting", "ready", "ended"]
    await feed.until("session", lambda data: data["session_id"] == session_id and data["state"] == "ended")
    if not any(name == "service" for name, _ in feed.told):
        await feed.until("service")


async def test_a_room_name_is_taken_at_both_replicas(a: Api, b: Api) -> None:
    assert (await a.open(room_name="lobby"))[0] == 201
    status, _, problem = await b.open(room_name="lobby")
    assert (status, problem["type"].rpartition(":")[2]) == (409, "room_name_taken")


async def test_a_session_ended_at_one_replica_is_readable_at_one_that_starts_later(a: Api, b: Api) -> None:
    session_id = await a_ready_session(a, b)
    await a.ask("DELETE", f"/sessions/{session_id}")
    shared = b.parts.replica
    assert shared is not None
    await shared.shared.store._reading.read_anew()
    assert (await b.ask("GET", f"/sessions/{session_id}"))[2]["state"] == "ended"


async def test_health_shows_redis_the_leader_and_all_replicas(a: Api, b: Api) -> None:
    async def health() -> Any:
        shown = (await a.ask("GET", "//health"))[2]
        return shown if len(shown["replicas"]) == 2 else None

    shown = await eventually("both replicas", health)
    assert shown["redis"]["state"] == "up"
    assert shown["replica_id"] == a.parts.acting.id
    assert {one["id"] for one in shown["replicas"]} == {a.parts.acting.id, b.parts.acting.id}
    assert [one["id"] for one in shown["replicas"] if one["leads"]] == [a.parts.acting.id]
    assert (await a.ask("GET", "//readyz"))[0] == 200


async def test_each_event_is_posted_once_and_listed_at_both_replicas(a: Api, b: Api) -> None:
    async with CallbackReceiver() as receiver:
        await a.register("asr-1")
        session_id = (await b.open({"type": "ASR"}, callback_url=receiver.url))[2]["session_id"]
        assert (await a.say_ready(session_id, "asr-1"))[0] == 200
        assert (await a.ask("DELETE", f"/sessions/{session_id}"))[0] == 200
        await receiver.tries(2)
        listed = [await eventually("all are delivered", partial(callbacks, api), are_delivered) for api in (a, b)]
    assert receiver.events == ["session_ready", "session_ended"]
    assert [one["id"] for one in listed[0]] == [one["id"] for one in listed[1]]


async def callbacks(api: Api) -> Any:
    return (await api.ask("GET", "/callbacks"))[2]["callbacks"]


def are_delivered(callbacks: Any) -> bool:
    return [one["state"] for one in callbacks] == ["delivered"] * 2
