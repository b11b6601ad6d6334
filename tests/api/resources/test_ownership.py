"""Tokens of sessions that change while their record is awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from manager_agent.session import events as ev
from manager_agent.store.recording import RoomRecord
from tests.api.stand_ins import Api
from tests.api.still_sessions import StillSession, still_session
from tests.waiting import waiting_for

pytestmark = pytest.mark.api


@dataclass
class UnrecordedSession:
    """A ready session whose record is not written until the test says so."""

    still: StillSession
    record: RoomRecord

    async def asked_for(self, method: str, path: str, body: Any = None) -> asyncio.Task[tuple[int, Any, Any]]:
        """A request that waits for the record."""
        asking = asyncio.create_task(self.still.api.ask(method, path, body))
        async with waiting_for("the request to wait for the record", asking.done):
            while not self.record.is_awaited:
                await asyncio.sleep(0.001)
        return asking

    async def degrades(self) -> None:
        failed = ev.ServiceSignalled(self.still.api.parts.clock(), "sm-asr-1", ev.Signal.FAILED, ev.Evidence.MESSAGE)
        await self.still.happens(failed)

    def is_recorded(self) -> None:
        self.record.wrote(self.still.now, self.record.begin_write(self.still.now))


@pytest.fixture
async def unrecorded(api: Api) -> AsyncIterator[UnrecordedSession]:
    async with still_session(api) as still:
        await still.becomes_ready()
        yield UnrecordedSession(still, api.parts.recording.open(still.session_id))


@pytest.mark.parametrize(("path", "body"), [("/token", None), ("/participants", {"identity": "bob"})])
async def test_token_is_refused_if_a_service_is_lost_while_the_record_is_awaited(
    unrecorded: UnrecordedSession, path: str, body: Any
) -> None:
    asking = await unrecorded.asked_for("POST", unrecorded.still.path + path, body)
    await unrecorded.degrades()
    unrecorded.is_recorded()
    status, _, problem = await asking
    assert (status, problem["type"].rpartition(":")[2], problem["state"]) == (409, "no_token", "degraded")


async def test_token_is_refused_if_the_session_ends_while_the_record_is_awaited(unrecorded: UnrecordedSession) -> None:
    """Its record is closed then, and nothing more is written."""
    asking = await unrecorded.asked_for("POST", f"{unrecorded.still.path}/token")
    await unrecorded.still.ends()
    unrecorded.record.close()
    status, _, problem = await asking
    assert (status, problem["state"], problem["reason"]) == (409, "ended", "closed")


async def test_session_that_changes_while_the_record_is_awaited_is_shown_without_a_token(
    unrecorded: UnrecordedSession,
) -> None:
    asking = await unrecorded.asked_for("GET", unrecorded.still.path)
    await unrecorded.degrades()
    unrecorded.is_recorded()
    status, headers, view = await asking
    assert (status, view["state"], headers["ETag"]) == (200, "degraded", unrecorded.still.tag)
    assert "access_token" not in view


@pytest.mark.parametrize("identity", ["alice", "bob"])
async def test_token_source_waits_again_if_the_session_changes_while_the_record_is_awaited(
    unrecorded: UnrecordedSession, identity: str
) -> None:
    """Its clients expect a token, and nothing else."""
    body = {"room_name": unrecorded.still.now.room_name, "participant_identity": identity}
    asking = await unrecorded.asked_for("POST", "/token", body)
    await unrecorded.degrades()
    unrecorded.is_recorded()
    await unrecorded.still.has_waiters(1)
    await unrecorded.still.ends()
    status, _, problem = await asking
    assert (status, problem["type"].rpartition(":")[2], problem["state"]) == (409, "session_over", "ended")
