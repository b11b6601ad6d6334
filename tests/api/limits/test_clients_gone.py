"""Clients that disconnect while they wait: the tasks that served them end, and so do the sessions they waited for."""

from __future__ import annotations

import asyncio
import json
import resource
import time
from collections.abc import Iterator

import pytest

from http_api.limits.waiters import WAITERS
from manager_agent.session import events as ev
from manager_agent.session.session import EndReason
from tests.api.stand_ins import StartApi
from tests.api.still_sessions import server_tasks, still_session
from tests.waiting import waiting_for

pytestmark = pytest.mark.api

CREATES, POLLS, STREAMS = 400, 800, 800
AT_ONCE = 100
"""Connections opened at once: the listen backlog takes so many."""


@pytest.fixture
def many_files() -> Iterator[None]:
    """Each connection takes two file descriptors, as both ends are in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * (CREATES + POLLS + STREAMS) + 500
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"takes {needed} file descriptors; this process may have {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def request(method: str, path: str, body: object = None, **headers: str) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    named = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(content)), **headers}
    lines = [f"{method} /api/v1{path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items()), "", ""]
    return "\r\n".join(lines).encode() + content


async def opened(port: int, requests: list[bytes]) -> list[asyncio.StreamWriter]:
    """Clients that have sent these requests, AT_ONCE at a time."""

    async def ask(sent: bytes) -> asyncio.StreamWriter:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        return writer

    clients = []
    for some in [requests[at : at + AT_ONCE] for at in range(0, len(requests), AT_ONCE)]:
        clients += await asyncio.gather(*map(ask, some))
    return clients


@pytest.mark.usefixtures("many_files")
async def test_two_thousand_disconnecting_clients_leave_nothing_behind(start_api: StartApi) -> None:
    """Some wait for a session, some for its next change, some for events. All tasks that served them end, and so do the
    sessions that they asked for. Prints how long it took."""
    api = await start_api(sessions_max=CREATES + 1, creates_in_flight=CREATES)
    await api.register("asr-service")
    before = server_tasks()
    async with still_session(api) as still:
        wanted = {"user_identity": "alice", "required_services": ["asr-service"], "ready_timeout": 600}
        creates = [request("POST", "/sessions", wanted)] * CREATES
        others = [
            *[request("GET", still.path, **{"If-None-Match": still.tag, "Prefer": "wait=60"})] * POLLS,
            *[request("GET", still.path + "/events", **{"Last-Event-ID": str(still.now.revision)})] * STREAMS,
        ]
        store = api.parts.store
        clients = await opened(api.port, creates)
        async with waiting_for(f"{CREATES} rooms", lambda: len(api.livekit.rooms)):
            while len(api.livekit.rooms) < CREATES:
                await asyncio.sleep(0.01)
        for session in store.list():  # or each of their rooms would be listed five times a second
            await store.update(session.session_id, ev.WebhookArrived(api.parts.clock()))
        clients += await opened(api.port, others)
        await api.has_waiting(len(clients))
        serving_them = server_tasks() - before
        assert len(serving_them) == 2 * len(clients)
        cut_at = time.perf_counter()
        for client in clients:
            client.transport.abort()
        left = serving_them
        async with waiting_for("the tasks of the clients to end", lambda: [task for task in left if not task.done()]):
            await asyncio.wait(serving_them)
        print(f"{len(clients)} clients cut: {len(serving_them)} tasks ended in {time.perf_counter() - cut_at:.3f} s")
        assert server_tasks() - before == set()
        assert api.app[WAITERS].count == 0

        asked_for = [session.session_id for session in store.list() if session.session_id != still.session_id]
        assert len(asked_for) == CREATES
        for session_id in asked_for:
            over = await api.until(session_id, lambda session: bool(session.end and session.end.cleaned_at))
            assert over.end is not None
            assert over.end.reason is EndReason.CLIENT_GONE
        await still.has_waiters(CREATES)
        assert api.livekit.rooms == []
