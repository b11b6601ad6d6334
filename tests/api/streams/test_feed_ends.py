"""The feed of everything: streams that last, end, and are cut off."""

from __future__ import annotations

import asyncio
import json
import re

import aiohttp
import pytest

from http_api.access.authentication import LEEWAY
from http_api.limits.waiters import WAITERS
from http_api.server import serving
from http_api.settings.settings import DevSettings, Settings
from http_api.streams.event_stream import RETRY, SEND_TIMEOUT
from http_api.streams.heartbeats import HEARTBEAT
from http_api.streams.subscribers import FEED
from manager_agent.json_object import JsonObject
from manager_agent.session import events as ev
from scripts.free_ports import free_port
from tests.api.stand_ins import Api, LiveKit, StartApi, stand_ins
from tests.api.still_sessions import server_tasks, time_passes
from tests.api.streams.feed_reader import PATH, MakeSessions, Readers, by_id
from tests.api.streams.raw_reader import all_of, raw_reader
from tests.tenants import ACME, OPERATOR, RIVAL, bearer, livekit_token, production
from tests.waiting import waiting_for

pytestmark = pytest.mark.api


async def test_feed_counts_against_waiters_max(start_api: StartApi) -> None:
    api = await start_api(waiters_max=1)
    readers = Readers(api)
    await (await readers.reader()).next()
    status, headers, problem = await api.ask("GET", "/events")
    assert (status, problem["type"].rpartition(":")[2]) == (503, "overloaded")
    assert int(headers["Retry-After"]) > 0
    readers.close()
    await api.has_waiting(0)


async def test_streams_of_one_caller_are_limited(start_api: StartApi) -> None:
    """Of the feed and of sessions together; the caller can still wait for a session, and other callers have streams."""
    api = await start_api(Settings, **production(waiters_max=20))
    readers, body = Readers(api), {"user_identity": "bob", "required_services": []}
    session_id = (await api.ask("POST", "/sessions", body, ACME.proof))[2]["session_id"]
    for _ in range(2):
        await (await readers.reader(ACME.proof)).next()
    for path in ("/events", f"/sessions/{session_id}/events"):
        status, headers, problem = await api.ask("GET", path, headers=ACME.proof)
        assert (status, problem["type"].rpartition(":")[2]) == (429, "too_many_streams")
        assert int(headers["Retry-After"]) > 0
    assert (await api.ask("POST", "/sessions", body, ACME.proof))[0] == 201
    await (await readers.reader(RIVAL.proof)).next()
    readers.close()
    await api.has_waiting(0)


# --- streams that last, and that end ------------------------------------------------------------------


async def test_feed_sends_heartbeats(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async with api.http.get(PATH) as answer:
        assert await answer.content.readuntil(b"\r\n\r\n") == f"retry: {RETRY}\r\n\r\n".encode()
        assert (await answer.content.readuntil(b"\r\n\r\n")).startswith(b"event: snapshot\r\ndata: {")
        time_passes(monkeypatch, HEARTBEAT)
        assert await answer.content.readuntil(b"\r\n\r\n") == b": ping\r\n\r\n"


async def test_streams_end_when_their_token_expires(start_api: StartApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream ends normally, and a reconnecting client has to authenticate. API keys do not expire."""
    api = await start_api(Settings, **production())
    readers, expires = Readers(api), bearer(livekit_token(lasts=60, room_create=True, room_admin=True))
    body = {"user_identity": "alice", "required_services": []}
    session_id = (await api.ask("POST", "/sessions", body, OPERATOR.proof))[2]["session_id"]
    feeds = [await readers.reader(proof) for proof in (expires, OPERATOR.proof)]
    for feed in feeds:
        await feed.next()
    async with api.http.get(f"/api/v1/sessions/{session_id}/events", headers=expires) as answer:
        await api.has_waiting(3)
        time_passes(monkeypatch, 60 + LEEWAY)
        assert (await answer.read()).endswith(b"\r\n\r\n")
    assert {name for name, _ in await feeds[0].rest()} <= {"session"}
    await api.has_waiting(1)
    await api.ask("DELETE", f"/sessions/{session_id}", headers=OPERATOR.proof)
    assert await feeds[1].until("session", lambda session: bool(session["state"] == "ended"))
    readers.close()


async def test_feed_reports_every_session_that_a_shutdown_ends() -> None:
    port, livekit = free_port(), LiveKit()
    chosen = DevSettings(_env_file=None, server_port=port, stop_ends_sessions=True)
    parts, agent = stand_ins(chosen, livekit)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        stopping = Api(http, parts, livekit, agent, port)
        async with serving(parts):
            session_ids = {(await stopping.open(user_identity=name))[2]["session_id"] for name in ("bob", "carol")}
            feeds = [await Readers(stopping).reader() for _ in range(2)]
            for feed in feeds:
                await feed.next()
        for feed in feeds:
            told = by_id(await feed.rest())
            assert {session_id: session["state"] for session_id, session in told.items()} == dict.fromkeys(
                session_ids, "ended"
            )


async def test_disconnected_feed_reader_leaves_nothing_behind(api: Api, readers: Readers) -> None:
    others = server_tasks()
    await (await readers.reader()).next()
    serving_tasks = server_tasks() - others
    readers.close()
    await asyncio.wait(serving_tasks)
    assert api.app[FEED].count == 0
    assert api.app[WAITERS].count == 0


# --- slow readers -----------------------------------------------------------------------------------


async def reads(api: Api, count: int) -> None:
    """Return once the feed has so many readers."""
    async with waiting_for(f"{count} readers of the feed", lambda: api.app[FEED].count):
        while api.app[FEED].count != count:
            await asyncio.sleep(0.001)


async def test_feed_reader_that_stalls_in_the_snapshot_is_cut_off(
    api: Api, some_sessions: MakeSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a small part of the snapshot is buffered for it."""
    await some_sessions(1_000, metadata=JsonObject.of({"text": "x" * 2_000}))
    connection = await raw_reader(api.port, PATH, read_buffer=4_096)
    await reads(api, 1)
    for _ in range(100):  # a piece each, as long as they can be sent
        await asyncio.sleep(0)
    time_passes(monkeypatch, SEND_TIMEOUT)
    await reads(api, 0)
    received = await all_of(connection)
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert len(received) < 512 * 1024
    assert not received.endswith(b"0\r\n\r\n")


async def test_slow_feed_reader_with_progress_gets_the_snapshot(
    api: Api, some_sessions: MakeSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as there is progress. No heartbeat gets into the snapshot, though one is due."""
    made = await some_sessions(1_000, metadata=JsonObject.of({"text": "x" * 2_000}))
    loop, received = asyncio.get_running_loop(), bytearray()
    jumps = 2 * int(HEARTBEAT / (SEND_TIMEOUT - 1))
    with await raw_reader(api.port, PATH, read_buffer=4_096) as connection:
        for jump in range(1, jumps + 1):
            while len(received) < jump * 256 * 1024:  # more than is buffered on the way
                received += await loop.sock_recv(connection, 16_384)
            time_passes(monkeypatch, SEND_TIMEOUT - 1)
        while not received.endswith(b"\r\n\r\n\r\n"):  # the end of the event, and of the chunk that it ends with
            received += await loop.sock_recv(connection, 65_536)
    [data] = re.findall(rb"data: (.*)\r\n\r\n$", unchunked(bytes(received)), re.DOTALL)
    assert [session["session_id"] for session in json.loads(data)["sessions"]] == made[::-1]


def unchunked(answer: bytes) -> bytes:
    """The body of a chunked answer so far."""
    _, _, rest = answer.partition(b"\r\n\r\n")
    body = bytearray()
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    return bytes(body)


async def test_feed_reader_that_stalls_on_changes_is_cut_off(
    api: Api, some_sessions: MakeSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand sessions change again and again; the reader delays no other task."""
    connection = await raw_reader(api.port, PATH, read_buffer=4_096)
    await reads(api, 1)
    made = await some_sessions(1_000)
    for time in range(20):
        for session_id in made:
            await api.parts.store.update(session_id, ev.ManagerDispatched(time * 100.0, time + 1, f"sm-{time}"))
        await asyncio.sleep(0)
    for _ in range(2_000):  # an event each, as long as they can be sent
        await asyncio.sleep(0)
    time_passes(monkeypatch, SEND_TIMEOUT)
    await reads(api, 0)
    received = await all_of(connection)
    assert len(received) < 512 * 1024
    assert not received.endswith(b"0\r\n\r\n")
