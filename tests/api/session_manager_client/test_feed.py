"""The Python client's feed and timeline, against the real API and servers that disconnect."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from aiohttp import web

from http_api.streams.subscribers import FEED
from session_manager_client import ApiError, Client, Unreachable
from session_manager_client.calls import LINE_MAX
from session_manager_client.models import (
    FeedHealth,
    FeedSnapshot,
    ForgottenSession,
    RemovedService,
    ServiceInfo,
    SessionInfo,
    TimelineInfo,
)
from tests.api.session_manager_client.test_client import HANG_UP, Server, client_of, refusal
from tests.api.stand_ins import Api

pytestmark = pytest.mark.api


async def test_follow_all_yields_each_event_with_its_own_type(api: Api) -> None:
    async with client_of(api) as client, aclosing(client.follow_all()) as events:
        first = await anext(events)
        assert isinstance(first, FeedSnapshot)
        assert (first.sessions, first.services, first.caller.name) == ([], [], "dev")
        await api.register("asr-service")
        session_id = (await api.open())[2]["session_id"]
        await client.close(session_id)
        await api.parts.store.remove(session_id)
        api.agent.is_registered = False
        wanted: set[type] = {SessionInfo, ForgottenSession, ServiceInfo, RemovedService, FeedHealth}
        while wanted:
            wanted.discard(type(told := await anext(events)))
            if isinstance(told, ServiceInfo):
                await client.remove(told.service_id)
    await api.has_waiting(0)
    assert api.app[FEED].count == 0


async def test_follow_all_reconnects_with_a_new_snapshot(api: Api) -> None:
    async with client_of(api) as client, aclosing(client.follow_all()) as events:
        snapshot = await anext(events)
    text = f"event: snapshot\r\ndata: {snapshot.model_dump_json()}\r\n\r\n"
    server = Server(
        web.Response(text=text + 'event: session\ndata: {"session_', content_type="text/event-stream"),
        HANG_UP,
        refusal(503, after="0"),
        web.Response(text='event: of-another-version\ndata: {"a": 1}\n\n' + text),
        web.Response(status=204),
    )
    async with server.client() as other:
        assert [told async for told in other.follow_all()] == [snapshot, snapshot]
    assert len(server.asked) == 5


async def test_follow_all_bounds_an_endless_line() -> None:
    """The client reads only up to a bound."""
    server = Server(web.Response(body=b"data: " + b"x" * (LINE_MAX + 1)), web.Response(status=204))
    async with server.client() as client:
        assert [told async for told in client.follow_all()] == []
    assert len(server.asked) == 2


async def test_follow_all_gives_up_on_an_unreachable_server() -> None:
    async with Server(HANG_UP, HANG_UP).client(max_wait=0) as client:  # aiohttp itself tries a GET twice
        with pytest.raises(Unreachable):
            await anext(client.follow_all())


async def test_client_timeline_equals_the_apis(api: Api) -> None:
    await api.register("asr-service")
    session_id = (await api.open("asr-service"))[2]["session_id"]
    async with client_of(api) as client:
        told = await client.timeline(session_id)
        asked = (await api.ask("GET", f"/sessions/{session_id}/timeline"))[2]
        assert told.model_copy(update={"now": "", "log": []}) == TimelineInfo(**asked | {"now": "", "log": []})
        with pytest.raises(ApiError) as caught:
            await client.timeline("ses_0")
    assert caught.value.slug == "unknown_session"


async def test_cancelled_follow_all_leaves_no_reader_behind(api: Api) -> None:
    async def follow(client: Client) -> None:
        async for _ in client.follow_all():
            pass

    async with client_of(api) as client:
        following = asyncio.create_task(follow(client))
        await api.has_waiting(1)
        following.cancel()
        await asyncio.wait([following])
    await api.has_waiting(0)
