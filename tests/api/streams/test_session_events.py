"""Server-sent events of a session: contents, reconnects, and slow readers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from http_api.server import serving
from http_api.settings.settings import DevSettings
from http_api.streams.event_stream import RETRY, SEND_TIMEOUT
from http_api.streams.heartbeats import HEARTBEAT
from manager_agent.json_object import JsonObject
from manager_agent.session import events as ev
from scripts.free_ports import free_port
from tests.api.stand_ins import Api, LiveKit, stand_ins
from tests.api.still_sessions import StillSession, server_tasks, still_session, time_passes
from tests.api.streams.raw_reader import all_of, raw_reader
from tests.event_stream import EventSource
from tests.waiting import waiting_for

pytestmark = pytest.mark.api

KERNEL_MAX = 256 * 1024
"""Bytes: more than the kernel buffers for a reader with the smallest buffer that does not read."""


@pytest.fixture
async def still(api: Api) -> AsyncIterator[StillSession]:
    async with still_session(api) as session:
        yield session


def events_path(still: StillSession) -> str:
    return f"/api/v1{still.path}/events"


def reader_of(still: StillSession, last_id: str | None = None) -> EventSource:
    return EventSource(still.api.http, events_path(still), last_id)


# --- what is told -----------------------------------------------------------------------------------


async def test_session_stream_shows_the_state_each_change_and_the_end(still: StillSession) -> None:
    told: list[Any] = []
    reader = reader_of(still)
    steps = iter((still.becomes_ready, still.user_comes, still.user_goes, still.ends))
    async for session in reader.connect():
        told.append(session)
        assert reader.last_id == str(session["revision"]) == str(still.now.revision)
        assert session == (await still.api.ask("GET", "/sessions"))[2]["sessions"][0]
        if happens := next(steps, None):
            await happens()
    assert [session["state"] for session in told] == ["waiting", "ready", "active", "ready", "ended"]
    assert reader.retry == RETRY


async def test_session_stream_never_contains_a_token(still: StillSession) -> None:
    """Not even for the owner of a ready session."""
    await still.becomes_ready()
    async for session in reader_of(still).connect():
        assert session["state"] in ("ready", "ended")
        assert not {"server_url", "access_token", "token_expires_at"} & session.keys()
        await still.ends()


async def test_session_stream_has_stream_headers_and_a_request_id(still: StillSession) -> None:
    """Even an id chosen by the caller."""
    asked = {"X-Request-Id": "mine-7"}
    async with still.api.http.get(f"/api/v1{still.path}/events", headers=asked) as answer:
        assert (answer.content_type, answer.headers["Cache-Control"]) == (
            "text/event-stream",
            "no-cache, no-store, no-transform",
        )
        assert (answer.headers["X-Accel-Buffering"], answer.headers["X-Request-Id"]) == ("no", "mine-7")
        assert "Content-Length" not in answer.headers


async def test_session_stream_merges_rapid_changes(still: StillSession) -> None:
    """The newest: outdated states are left out."""
    told = []
    async for session in reader_of(still).connect():
        told.append((session["state"], session["revision"]))
        if len(told) == 1:
            for time in range(10):
                await still.user_comes(time)
                await still.user_goes(time)
            await still.becomes_ready()
            last = await still.ends()
    assert told[1:] == [("ended", last.revision)]


async def test_session_stream_leaves_out_internal_changes(still: StillSession) -> None:
    told = []
    async for session in reader_of(still).connect():
        told.append(session["state"])
        if len(told) == 1:
            await still.has_waiters(1)
            await still.happens(ev.WebhookArrived(still.api.parts.clock()))
            await still.has_waiters(1)
            await still.becomes_ready()
        elif len(told) == 2:
            await still.ends()
    assert told == ["waiting", "ready", "ended"]


async def test_session_stream_sends_heartbeats(still: StillSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a comment, which an EventSource does not report."""
    async with still.api.http.get(f"/api/v1{still.path}/events") as answer:
        assert await answer.content.readuntil(b"\r\n\r\n") == f"retry: {RETRY}\r\n\r\n".encode()
        assert (await answer.content.readuntil(b"\r\n\r\n")).startswith(b"id: ")
        time_passes(monkeypatch, HEARTBEAT)
        assert await answer.content.readuntil(b"\r\n\r\n") == b": ping\r\n\r\n"


# --- coming back ------------------------------------------------------------------------------------


async def test_last_event_id_of_the_current_revision_waits_for_the_next(still: StillSession) -> None:
    reader = reader_of(still, last_id=str(still.now.revision))
    told = []

    async def read() -> None:
        told.extend([session["state"] async for session in reader.connect()])

    reading = asyncio.create_task(read())
    await still.has_waiters(1)
    await still.becomes_ready()
    await still.has_waiters(1)
    await still.ends()
    await reading
    assert told == ["ready", "ended"]
    assert reader.retry == RETRY


@pytest.mark.parametrize("last_id", ["1", "", "0004", "x" * 4_000])
async def test_last_event_id_of_another_revision_gets_the_current_state(still: StillSession, last_id: str) -> None:
    async for session in reader_of(still, last_id).connect():
        assert session["revision"] == still.now.revision
        break


async def test_reconnecting_stream_reader_misses_and_repeats_no_state(still: StillSession) -> None:
    """The connection is closed after each event, and the session changes before or after the reconnect."""
    reader, told = reader_of(still), []
    for happens in (still.becomes_ready, still.user_comes, still.user_goes):
        async for session in reader.connect():
            told.append(session["state"])
            break
        await happens()
    async for session in reader.follow():
        told.append(session["state"])
        await still.ends()
    assert told == ["waiting", "ready", "active", "ready", "ended"]


async def test_stream_reader_that_has_seen_the_end_gets_204(still: StillSession) -> None:
    """204 tells an EventSource not to come back again; one who has not seen the end is told of it first."""
    await still.ends()
    reader = reader_of(still, last_id="1")
    assert [session["state"] async for session in reader.follow()] == ["ended"]
    assert reader.last_id == str(still.now.revision)
    assert "Content-Type" not in reader.headers


async def test_stream_of_an_unknown_session_is_404(api: Api) -> None:
    status, _, problem = await api.ask("GET", "/sessions/ses_nope/events")
    assert (status, problem["type"].rpartition(":")[2]) == (404, "unknown_session")


async def test_head_of_a_session_stream_opens_no_stream(still: StillSession) -> None:
    async with still.api.http.head(f"/api/v1{still.path}/events") as answer:
        assert (answer.status, answer.content_type, await answer.read()) == (200, "text/event-stream", b"")
    assert (await still.api.ask("HEAD", "/sessions/ses_nope/events"))[0] == 404
    assert still.waiters == 0


# --- streams that end ---------------------------------------------------------------------------------


async def test_stream_of_a_forgotten_session_ends(still: StillSession) -> None:
    told = []
    async for session in reader_of(still).connect():
        told.append(session["state"])
        await still.has_waiters(1)
        await still.api.parts.store.remove(still.session_id)
    assert told == ["waiting"]


async def test_session_stream_reports_the_end_at_a_shutdown_that_ends_sessions(api: Api) -> None:
    """Streams, long polls and requests for a session are all answered before their own time is up."""
    port, livekit = free_port(), LiveKit()
    chosen = DevSettings(_env_file=None, server_port=port, stop_ends_sessions=True)
    parts, agent = stand_ins(chosen, livekit)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        stopping = Api(http, parts, livekit, agent, port)
        async with serving(parts):
            await stopping.register("asr-service")
            asking = asyncio.create_task(stopping.open("asr-service", prefer="", ready_timeout=600))
            await livekit.invited.wait()
            (session,) = parts.store.list()
            path = f"/sessions/{session.session_id}"
            polling = asyncio.create_task(stopping.ask("GET", path, headers={"Prefer": "wait=60"}))
            stream = EventSource(http, f"/api/v1{path}/events").connect()
            assert (await anext(stream))["state"] == "waiting"
            async with waiting_for("three waiters: two requests and the control loop", lambda: parts.store.waiters):
                while parts.store.waiters < 3:
                    await asyncio.sleep(0.001)
        assert [told["state"] async for told in stream][-1] == "ended"
        status, _, ended = await polling
        assert (status, ended["state"]) == (200, "ended")
        status, _, problem = await asking
        assert (status, problem["type"].rpartition(":")[2]) == (503, "unready")


async def test_fault_in_a_stream_breaks_the_connection(api: Api) -> None:
    """There is no second answer within the first, and no regular end of the stream."""
    async with still_session(api, "ses_odd", metadata=JsonObject(b"\xff is no UTF-8")) as odd:
        received = await all_of(await raw_reader(odd.api.port, events_path(odd)))
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert received.count(b"HTTP/1.1") == 1
    assert not received.endswith(b"0\r\n\r\n")
    assert b"problem" not in received


# --- slow readers -----------------------------------------------------------------------------------


async def test_stalled_stream_reader_is_cut_off_and_costs_little(
    still: StillSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session changes thousands of times; only a small part is buffered for the reader."""
    others = server_tasks()
    connection = await raw_reader(still.api.port, events_path(still), read_buffer=4_096)
    await still.has_waiters(1)
    serving_tasks = server_tasks() - others
    await still.becomes_ready()
    for time in range(3_000):
        await still.user_comes(time)
        await asyncio.sleep(0)
        await still.user_goes(time)
        await asyncio.sleep(0)
    assert still.now.revision > 6_000
    time_passes(monkeypatch, SEND_TIMEOUT)
    await asyncio.wait(serving_tasks)
    assert still.waiters == 0
    received = await all_of(connection)
    assert len(received) < KERNEL_MAX
    assert not received.endswith(b"0\r\n\r\n")
    seen = [int(revision) for revision in re.findall(rb"^id: (\d+)", received, re.MULTILINE)]
    assert seen == sorted(seen)
    assert seen[-1] < still.now.revision


async def test_stream_reader_after_a_stall_goes_on_with_the_newest_state(still: StillSession) -> None:
    """Outdated states are left out, the order is kept, and the end arrives."""
    connection = await raw_reader(still.api.port, events_path(still), read_buffer=4_096)
    await still.has_waiters(1)
    await still.becomes_ready()
    for time in range(2_000):
        await still.user_comes(time)
        await asyncio.sleep(0)
    last = await still.ends()
    received = await all_of(connection)
    seen = [int(revision) for revision in re.findall(rb"^id: (\d+)", received, re.MULTILINE)]
    assert seen == sorted(set(seen))
    assert len(seen) < 2_000
    assert seen[-1] == last.revision
    assert received.endswith(b"0\r\n\r\n")
