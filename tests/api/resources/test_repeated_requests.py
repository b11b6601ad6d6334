"""What happens to POST /api/v1/token and POST /api/v1/sessions between readiness and the token."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import jwt
import pytest

from http_api.limits.key_marks import RequestMark
from http_api.resources import repeated_requests
from http_api.resources.session_requests import SESSION_REQUESTS
from manager_agent.session.events import Evidence, ServiceSignalled, Signal
from manager_agent.session.session import EndReason, Session, SessionState
from manager_agent.store.recording import RoomRecord
from tests.always_acting import AlwaysActing
from tests.api.stand_ins import Api, StartApi
from tests.waiting import waiting_for

pytestmark = pytest.mark.api

FILE = "{services: [], profiles: {default: []}}"
ALICE = {"participant_identity": "alice"}


@pytest.fixture
async def api(start_api: StartApi, tmp_path: Any) -> Api:
    path = tmp_path / "services.yaml"
    path.write_text(FILE)
    return await start_api(services_file=path)


@pytest.fixture
def records(api: Api, monkeypatch: pytest.MonkeyPatch) -> HeldRecords:
    return HeldRecords(api, monkeypatch)


class HeldRecords:
    """LiveKit takes no records until the test says so, nor had the room one from its creation."""

    def __init__(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        self._api, self._until_recorded = api, api.parts.recording.until_recorded
        self._waiting, self.patience = 0, 60.0
        api.livekit.takes_no_records = True
        monkeypatch.setattr(api.parts.recording, "until_recorded", self._wait)
        lacks, livekit = RoomRecord.lacks, api.livekit
        monkeypatch.setattr(RoomRecord, "lacks", lambda *args: livekit.takes_no_records or lacks(*args))

    async def _wait(self, session_id: str, timeout: float | None = None) -> None:
        self._waiting += 1
        try:
            await self._until_recorded(session_id, timeout or self.patience)
        finally:
            self._waiting -= 1

    async def are_awaited_by(self, count: int) -> None:
        """Return once so many requests wait for a record."""
        async with waiting_for(f"{count} requests that wait for a record", lambda: self._waiting):
            while self._waiting != count:
                await asyncio.sleep(0.001)

    def are_taken(self) -> None:
        self._api.livekit.takes_no_records = False
        self._api.livekit.takes_records.set()


def room_of(answer: tuple[int, Any, Any]) -> str:
    status, _, given = answer
    assert status == 201, given
    claims = jwt.decode(given["participant_token"], "secret", algorithms=["HS256"])
    return str(claims["video"]["room"])


def only_session(api: Api) -> Session:
    (session,) = api.parts.store.list()
    return session


@pytest.mark.parametrize("body", [ALICE, {"participant_name": "Alice"}])
async def test_client_that_gives_up_while_the_record_is_awaited_finds_its_session(
    api: Api, records: HeldRecords, body: dict[str, Any]
) -> None:
    asking = asyncio.create_task(api.ask("POST", "/token", body))
    await records.are_awaited_by(1)
    session = only_session(api)
    assert session.state is SessionState.READY
    asking.cancel()
    await api.has_waiting(0)
    again = asyncio.create_task(api.ask("POST", "/token", body))
    await records.are_awaited_by(1)
    records.are_taken()
    assert room_of(await again) == session.room_name
    assert only_session(api).over is False


async def test_repeated_request_finds_its_session_while_the_record_is_awaited(api: Api, records: HeldRecords) -> None:
    both = []
    for count in (1, 2):
        both.append(asyncio.create_task(api.ask("POST", "/token", ALICE)))
        await records.are_awaited_by(count)
    records.are_taken()
    assert {room_of(await one) for one in both} == {only_session(api).room_name}


async def test_client_whose_session_was_not_recorded_in_time_finds_it(api: Api, records: HeldRecords) -> None:
    records.patience = 0.05
    status, headers, problem = await api.ask("POST", "/token", ALICE)
    assert (status, headers["Retry-After"], problem["type"].rpartition(":")[2]) == (503, "1", "room_unavailable")
    records.patience = 60.0
    records.are_taken()
    assert room_of(await api.ask("POST", "/token", ALICE)) == only_session(api).room_name


async def test_session_that_was_not_recorded_ends_when_its_client_does_not_return(
    api: Api, records: HeldRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeated_requests, "KEPT", 0.05)
    records.patience = 0.05
    assert (await api.ask("POST", "/token", ALICE))[0] == 503
    over = await api.until(only_session(api).session_id, lambda latest: latest.over)
    assert over.end is not None
    assert over.end.reason is EndReason.CLOSED


async def test_created_session_ends_when_its_client_disconnects_while_the_record_is_awaited(
    api: Api, records: HeldRecords
) -> None:
    asking = asyncio.create_task(api.open(prefer=""))
    await records.are_awaited_by(1)
    session_id = only_session(api).session_id
    asking.cancel()
    over = await api.until(session_id, lambda latest: latest.over)
    assert over.end is not None
    assert over.end.reason is EndReason.CLIENT_GONE


async def test_created_session_that_degrades_while_the_record_is_awaited_is_awaited_again(
    api: Api, records: HeldRecords
) -> None:
    """The response without a token would be a 202, which the client did not ask for."""
    await api.register("asr")
    asking = asyncio.create_task(api.open("asr", prefer=""))
    await api.livekit.invited.wait()
    session_id = only_session(api).session_id

    async def signals(signal: Signal) -> None:
        identity = only_session(api).services[0].identity or ""
        await api.parts.store.update(session_id, ServiceSignalled(api.parts.clock(), identity, signal, Evidence.HTTP))

    await signals(Signal.READY)
    await records.are_awaited_by(1)
    await signals(Signal.FAILED)
    records.are_taken()
    await records.are_awaited_by(0)
    await api.until(session_id, lambda latest: latest.services[0].attempt == 2)
    assert (only_session(api).state, asking.done()) == (SessionState.DEGRADED, False)
    await signals(Signal.READY)
    status, _, created = await asking
    assert (status, created["state"], "access_token" in created) == (201, "ready", True)


async def test_session_whose_client_is_gone_is_left_to_a_process_that_takes_over(
    api: Api, records: HeldRecords, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(repeated_requests, "KEPT", 2.0)
    asking = asyncio.create_task(api.ask("POST", "/token", ALICE))
    await records.are_awaited_by(1)
    asking.cancel()
    await api.has_waiting(0)
    assert isinstance(api.parts.acting, AlwaysActing)
    api.parts.acting.supersede()
    task = f"{only_session(api).session_id} give up"
    async with waiting_for("the session to be given up", asyncio.all_tasks):
        while any(one.get_name() == task for one in asyncio.all_tasks()):
            await asyncio.sleep(0.01)
    await asyncio.sleep(0)  # its failure would be logged now
    assert only_session(api).over is False
    assert "task_failed" not in caplog.text


async def test_session_that_one_client_has_is_kept_when_the_other_one_disconnects(api: Api) -> None:
    _, _, session = await api.open(prefer="")
    repeated, mark = api.app[SESSION_REQUESTS].repeated, RequestMark("the same")
    with suppress(asyncio.CancelledError), repeated.client_of(session["session_id"], mark):
        with repeated.client_of(session["session_id"], mark):
            pass  # it has its token
        raise asyncio.CancelledError
    await asyncio.sleep(0)
    assert await repeated.take_abandoned(mark) is None
