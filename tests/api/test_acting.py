"""The API of a process while another one of its deployment acts, or may."""

from __future__ import annotations

import asyncio

import pytest

from manager_agent.not_acting import NotActing
from manager_agent.records.records import Kind
from tests.always_acting import AlwaysActing
from tests.api.stand_ins import Api, StartApi
from tests.api.streams.feed_reader import Readers
from tests.event_stream import EventSource
from tests.waiting import waiting_for

pytestmark = pytest.mark.api

TAKEN_OVER = "another process of this deployment has taken over"


def acting(api: Api) -> AlwaysActing:
    assert isinstance(api.parts.acting, AlwaysActing)
    return api.parts.acting


async def refused(api: Api, method: str, path: str, body: object = None) -> str:
    """Why this request was refused because another process acts."""
    status, headers, problem = await api.ask(method, path, body)
    assert (status, headers["Retry-After"], headers["Connection"]) == (503, "1", "close"), problem
    assert problem["type"].endswith(":not_acting")
    return str(problem["detail"])


async def test_request_for_a_session_is_refused_at_once_while_livekit_is_away(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LiveKit, which hangs, is not awaited to say who acts."""

    async def never(_: AlwaysActing) -> bool:
        await asyncio.Event().wait()
        return True

    monkeypatch.setattr(AlwaysActing, "held", never)
    acting(api).pause()
    api.livekit.down = True
    for path, body in (("/sessions", {"user_identity": "bob", "required_services": []}), ("/token", {})):
        status, headers, problem = await api.ask("POST", path, body)
        assert (status, headers["Retry-After"]) == (503, "2")
        assert problem["type"].endswith(":room_unavailable")


async def test_superseded_process_reads_and_changes_nothing(api: Api) -> None:
    await api.register("asr-service")
    _, _, waiting = await api.open("asr-service")
    _, _, ready = await api.open(prefer="")
    path, kept = f"/sessions/{waiting['session_id']}", await api.parts.records.load(Kind.REGISTRATION)
    acting(api).supersede()
    status, _, known = await api.ask("GET", path)
    assert (status, known["state"]) == (200, "waiting")
    assert (await api.ask("GET", f"{path}/timeline"))[0] == 200
    listed = (await api.ask("GET", "/sessions"))[2]["sessions"]
    assert [session["state"] for session in listed] == ["ready", "waiting"]
    assert [service["service_id"] for service in (await api.ask("GET", "/microservices"))[2]["services"]] == [
        "asr-service"
    ]
    other = {"service_id": "tts-service", "endpoint": "http://127.0.0.1:1/", "metadata": {"type": "TTS"}}
    session = {"user_identity": "bob", "required_services": []}
    for method, changed, body in (
        ("DELETE", path, None),
        ("POST", "/sessions", session),
        ("POST", "/token", {}),
        ("POST", f"/sessions/{ready['session_id']}/token", None),
        ("POST", f"/sessions/{ready['session_id']}/participants", {"identity": "carol"}),
        ("POST", "/microservices/register", other),
        ("POST", "/microservices/asr-service/heartbeat", {"draining": True}),
        ("DELETE", "/microservices/asr-service", None),
        ("GET", "/sessions/ses_of_the_newer_process", None),
        ("GET", f"/sessions/{ready['session_id']}", None),  # the answer would have a token
    ):
        assert await refused(api, method, changed, body) == TAKEN_OVER
    assert await api.parts.records.load(Kind.REGISTRATION) == kept
    assert len(api.livekit.rooms) == 2


async def test_superseded_process_is_alive_and_not_ready(api: Api) -> None:
    assert (await api.ask("GET", "//readyz"))[0] == 200
    acting(api).supersede()
    status, headers, problem = await api.ask("GET", "//readyz")
    assert (status, headers["Retry-After"], problem["detail"]) == (503, "2", TAKEN_OVER)
    assert (await api.ask("GET", "//livez"))[0] == 200


async def test_superseded_process_writes_no_records(api: Api) -> None:
    """Whatever in it still wants to."""
    await api.register("asr-service")
    records = api.parts.records
    kept = await records.load(Kind.REGISTRATION)
    acting(api).supersede()
    records.put(Kind.REGISTRATION, "late", b"1.{}")
    records.delete(Kind.REGISTRATION, "asr-service")
    with pytest.raises(NotActing):
        await records.committed()
    assert await records.load(Kind.REGISTRATION) == kept


async def test_requests_that_wait_are_answered_when_another_process_takes_over(api: Api) -> None:
    await api.register("asr-service")
    asking = [
        asyncio.create_task(api.open("asr-service", prefer=prefer, user_identity=f"user-{number}"))
        for number, prefer in enumerate(["", "wait=60"])
    ]
    await api.has_waiting(2)
    await asyncio.gather(
        *(api.until(one.session_id, lambda one: one.room.created_at is not None) for one in api.parts.store.list())
    )
    acting(api).supersede()
    (status, headers, problem), (status_of_patient, _, view) = await asyncio.gather(*asking)
    assert (status, headers["Retry-After"], problem["detail"]) == (503, "1", TAKEN_OVER)
    assert (status_of_patient, view["state"]) == (202, "waiting")
    assert {session.over for session in api.parts.store.list()} == {False}


async def test_streams_end_when_another_process_takes_over(api: Api, readers: Readers) -> None:
    await api.register("asr-service")
    _, _, session = await api.open("asr-service")
    source = EventSource(api.http, f"/api/v1/sessions/{session['session_id']}/events")
    feed = await readers.reader()
    await feed.next()
    async for _ in source.connect():
        acting(api).supersede()
    await feed.rest()


async def test_sessions_are_held_while_livekit_does_not_say_who_acts(api: Api) -> None:
    """Their deadlines too: another process may have them. Services, which are not in LiveKit, can still register."""
    await api.register("asr-service")
    _, _, session = await api.open("asr-service", ready_timeout=3)
    acting(api).pause()
    assert await refused(api, "DELETE", f"/sessions/{session['session_id']}") == "LiveKit was not asked yet"
    await api.register("tts-service")
    assert (await api.ask("GET", "//readyz"))[0] == 503
    deadline = api.parts.store.get(session["session_id"]).ready_deadline
    async with waiting_for("the session's deadline", lambda: None):
        while api.parts.clock() < deadline:
            await asyncio.sleep(0.05)
    assert (await api.ask("GET", f"/sessions/{session['session_id']}"))[2]["state"] == "waiting"
    acting(api).go_on()
    over = await api.until(session["session_id"], lambda one: one.over)
    assert over.end is not None
    assert over.end.reason == "ready_timeout"


async def test_a_client_is_not_kept_waiting_beyond_the_deadline_by_an_outage(api: Api) -> None:
    await api.register("asr-service")
    asking = asyncio.create_task(api.open("asr-service", prefer="", ready_timeout=3))
    await api.livekit.invited.wait()
    acting(api).pause()
    status, headers, problem = await asking
    assert (status, headers["Retry-After"], problem["detail"]) == (503, "2", "LiveKit was not asked yet")


async def test_a_process_that_takes_over_knows_what_was_recorded_since_it_started(start_api: StartApi) -> None:
    older = await start_api()
    await older.register("asr-1", "asr-2")
    newer = await start_api(records=older.parts.records, is_acting=False)
    await older.register("asr-3")
    await older.ask("DELETE", "/microservices/asr-2")
    _, _, session = await older.open(prefer="", room_name="demo")
    _, _, ended = await older.ask("DELETE", f"/sessions/{session['session_id']}")
    acting(newer).go_on()
    async with waiting_for("the records to be read", lambda: None):
        while not newer.parts.recovery.is_complete:
            await asyncio.sleep(0.01)
    services = (await newer.ask("GET", "/microservices"))[2]["services"]
    assert [service["service_id"] for service in services] == ["asr-1", "asr-3"]
    assert (await newer.ask("GET", f"/sessions/{session['session_id']}"))[::2] == (200, ended)
    assert newer.parts.store.name_free_in("demo", "another caller") > 60
