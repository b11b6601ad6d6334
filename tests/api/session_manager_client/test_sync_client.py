"""SyncClient against the real API, as a program without asyncio uses it: in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import pytest

from session_manager_client import ApiError, SyncClient
from session_manager_client.models import FeedSnapshot
from tests.api.stand_ins import Api

pytestmark = pytest.mark.api

T = TypeVar("T")


async def used(api: Api, use: Callable[[SyncClient], T]) -> T:
    """What `use` returns in a thread, with a client of the API."""

    def in_thread() -> T:
        with SyncClient(f"http://127.0.0.1:{api.port}") as client:
            return use(client)

    return await asyncio.to_thread(in_thread)


async def test_sync_session_block_has_a_ready_session_and_closes_it(api: Api) -> None:
    def use(client: SyncClient) -> None:
        with client.session(user_identity="alice", required_services=[]) as s:
            assert (s.user_identity, s.state) == ("alice", "ready")
            assert client.token(s.session_id).access_token != s.access_token
            assert client.add_participant(s.session_id, identity="bob").room_name == s.room_name
            with client.session(required_services=[]) as other:
                assert [one.session_id for one in client.sessions()] == [other.session_id, s.session_id]
        assert client.get(s.session_id).reason == "closed"
        assert client.timeline(s.session_id).ended_at is not None

    await used(api, use)


async def test_sync_session_block_closes_the_session_on_an_exception(api: Api) -> None:
    def use(client: SyncClient) -> None:
        with client.session(required_services=[]) as s:
            raise ZeroDivisionError(s.session_id)

    with pytest.raises(ZeroDivisionError) as raised:
        await used(api, use)
    assert api.parts.store.get(str(raised.value)).end is not None


async def test_sync_client_follows_a_session_to_its_end_and_everything(api: Api) -> None:
    def use(client: SyncClient) -> list[str]:
        created = client.create(required_services=[], wait=10)
        states = []
        for session in client.follow(created.session_id):
            states.append(session.state)
            if session.state == "ready":
                client.close(session.session_id)
        for item in client.follow_all():
            assert isinstance(item, FeedSnapshot)
            assert [one.session_id for one in item.sessions] == [created.session_id]
            break
        return states

    assert await used(api, use) == ["ready", "ended"]


async def test_sync_client_registers_shows_and_removes_services(api: Api) -> None:
    def use(client: SyncClient) -> None:
        where = "http://127.0.0.1:1/"
        client.register(service_id="asr-service", endpoint=where, metadata={"type": "ASR"})
        assert client.heartbeat("asr-service", load=0.5).load == client.service("asr-service").load == 0.5
        assert [service.service_id for service in client.services()] == ["asr-service"]
        client.remove("asr-service")
        with pytest.raises(ApiError, match="unknown_service"):
            client.service("asr-service")
        assert client.health().manager_agent == "registered"

    await used(api, use)


async def test_threads_share_a_sync_client(api: Api) -> None:
    def use(client: SyncClient) -> set[str]:
        async def at_once() -> list[str]:
            made = (asyncio.to_thread(client.create, required_services=[], wait=10) for _ in range(8))
            return [session.state for session in await asyncio.gather(*made)]

        return set(asyncio.run(at_once()))

    assert await used(api, use) == {"ready"}
