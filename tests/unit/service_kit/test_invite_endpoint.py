"""The answers of a service to what is posted to it, over real HTTP. No room is joined here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import jwt
import pytest
import structlog
from livekit import api
from opentelemetry import trace
from opentelemetry.propagate import extract

from manager_agent.messages import Invite
from manager_agent.outbound.signing import signature
from service_kit import Decline, Service, SessionJob
from service_kit.conformance.scenario import session_ended
from service_kit.invite_endpoint import BODY_MAX
from tests.manager_stand_in import KEY, SECRET, ManagerStandIn, invite, invited_session
from tests.unit.waits import never, until
from tests.waiting import waiting_for

pytestmark = pytest.mark.unit


class RecordingService:
    """A service whose handler records its jobs, declines or fails if told to, and otherwise stays until the end."""

    def __init__(self, **more: Any) -> None:
        self.service = Service("asr-service", type="ASR", grace=0.05, **more)
        self.service.on_invite(self._handle)
        self.came: list[SessionJob] = []
        self.reasons: list[str] = []
        self.declining = self.failing = False

    async def _handle(self, job: SessionJob) -> None:
        self.came.append(job)
        if self.declining:
            raise Decline("not today")
        if self.failing:
            raise RuntimeError("out of memory")
        job.accept()
        self.reasons.append(await job.ended())


@pytest.fixture
async def manager() -> AsyncIterator[ManagerStandIn]:
    async with ManagerStandIn() as manager:
        yield manager


@pytest.fixture
def recorder() -> RecordingService:
    return RecordingService()


@pytest.fixture
async def endpoint(manager: ManagerStandIn, recorder: RecordingService) -> AsyncIterator[str]:
    async with recorder.service.serving(manager.settings()) as endpoint:
        yield endpoint


async def test_a_signed_invite_is_accepted_and_handled(
    manager: ManagerStandIn, endpoint: str, recorder: RecordingService
) -> None:
    sent = invite(session=invited_session(lang="de"))
    assert await manager.post(endpoint, sent) == 200
    assert [job.invite for job in recorder.came] == [sent]
    assert repr(recorder.came[0]) == "<SessionJob of asr-service in room-1 [invited]>"


async def test_a_service_connects_to_its_own_livekit_url_whatever_the_invite_names(
    manager: ManagerStandIn, recorder: RecordingService
) -> None:
    settings = manager.settings().model_copy(update={"service_livekit_url": "ws://livekit:7880"})
    async with recorder.service.serving(settings) as endpoint:
        assert await manager.post(endpoint, invite()) == 200
        assert [job.invite.server_url for job in recorder.came] == ["ws://livekit:7880"]


TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_a_session_job_continues_the_trace_of_its_invite(
    manager: ManagerStandIn, endpoint: str, recorder: RecordingService
) -> None:
    """As OpenTelemetry reads it. Log lines have the trace id."""
    with structlog.testing.capture_logs() as log:
        assert await manager.post(endpoint, invite(traceparent=TRACEPARENT, tracestate="congo=t61rcWkgMzE")) == 200
    (job,) = recorder.came
    parent = trace.get_current_span(extract(job.trace_headers)).get_span_context()
    assert (f"{parent.trace_id:032x}", f"{parent.span_id:016x}") == (TRACEPARENT[3:35], TRACEPARENT[36:52])
    assert parent.trace_state["congo"] == "t61rcWkgMzE"
    assert [line["trace_id"] for line in log if line["event"] == "invited"] == [TRACEPARENT[3:35]]


@pytest.mark.parametrize("traceparent", [None, "", "nonsense", TRACEPARENT.upper()])
async def test_an_invite_without_a_valid_trace_is_accepted(
    manager: ManagerStandIn, endpoint: str, recorder: RecordingService, traceparent: str | None
) -> None:
    with structlog.testing.capture_logs() as log:
        assert await manager.post(endpoint, invite(traceparent=traceparent)) == 200
    assert recorder.came[0].trace_headers == {}
    assert "trace_id" not in next(line for line in log if line["event"] == "invited")


def forged(body: bytes) -> dict[str, str]:
    """Authorizations that must not pass for `body`."""
    good = signature(body, KEY, SECRET)
    claims = jwt.decode(good, options={"verify_signature": False})
    return {
        "none": "",
        "rubbish": "rubbish",
        "with Bearer": f"Bearer {good}",
        "of another secret": signature(body, KEY, SECRET[::-1]),
        "of another key": signature(body, "other", SECRET),
        "for another body": signature(body + b" ", KEY, SECRET),
        "expired": signature(body, KEY, SECRET, lifetime=-300),
        "not signed at all": jwt.encode(claims, "", algorithm="none"),
        "that never expires": jwt.encode({k: v for k, v in claims.items() if k != "exp"}, SECRET, "HS256"),
        "a join token": api.AccessToken(KEY, SECRET).with_identity("eve").to_jwt(),
    }


@pytest.mark.parametrize("which", forged(b""))
async def test_an_invalid_signature_gets_401(
    which: str, manager: ManagerStandIn, endpoint: str, recorder: RecordingService
) -> None:
    body = invite().model_dump_json().encode()
    assert await manager.post(endpoint, body, forged(body)[which]) == 401
    assert recorder.came == []


def without(field: str) -> bytes:
    body = json.loads(invite().model_dump_json())
    del body[field]
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe{}", 400),
        (b"[]", 422),
        (b"{}", 422),
        (b'{"event": "room_started"}', 422),
        (without("session"), 422),
        (without("token"), 422),
        (invite("llm-service").model_dump_json().encode(), 422),
    ],
)
async def test_a_body_that_is_not_an_invite_is_refused(
    body: bytes, status: int, manager: ManagerStandIn, endpoint: str, recorder: RecordingService
) -> None:
    assert await manager.post(endpoint, body) == status
    assert recorder.came == []


def padded(length: int) -> bytes:
    bare = invite().model_dump_json().encode()
    return bare + b" " * (length - len(bare))


@pytest.mark.parametrize(("length", "status"), [(BODY_MAX, 200), (BODY_MAX + 1, 413), (10 * BODY_MAX, 413)])
async def test_a_body_of_more_than_64_kib_is_not_read(
    length: int, status: int, manager: ManagerStandIn, endpoint: str
) -> None:
    assert await manager.post(endpoint, padded(length)) == status


async def test_the_invite_endpoint_answers_only_post(manager: ManagerStandIn, endpoint: str) -> None:
    async with manager.http.get(endpoint) as answer:
        assert answer.status == 405


async def test_concurrent_copies_of_an_invite_start_one_session_job(
    manager: ManagerStandIn, endpoint: str, recorder: RecordingService
) -> None:
    statuses = await asyncio.gather(*(manager.post(endpoint, invite()) for _ in range(10)))
    assert statuses == [200] * 10
    assert len(recorder.came) == len(recorder.service.jobs) == 1


async def test_an_invite_repeated_after_its_job_has_ended_starts_a_new_job(
    manager: ManagerStandIn, endpoint: str, recorder: RecordingService
) -> None:
    await manager.post(endpoint, invite())
    recorder.came[0].end("room_gone")
    assert await manager.post(endpoint, invite()) == 200  # which waits for the first to be gone
    assert len(recorder.came) == 2
    assert recorder.reasons == ["room_gone"]


@pytest.mark.parametrize("reason", ["closed", "replaced"])
async def test_an_invite_whose_session_has_ended_gets_409(
    reason: str, manager: ManagerStandIn, endpoint: str, recorder: RecordingService
) -> None:
    await manager.post(endpoint, invite())
    await manager.post(endpoint, session_ended(invite(), reason))
    await until_alone(recorder)
    assert await manager.post(endpoint, invite()) == 409
    assert recorder.reasons == [reason]
    assert len(recorder.came) == 1


async def test_an_invite_that_arrives_after_its_session_ended_message_gets_409(
    manager: ManagerStandIn, endpoint: str, recorder: RecordingService
) -> None:
    await manager.post(endpoint, session_ended(invite()))
    assert await manager.post(endpoint, invite(id="inv_2")) == 409
    assert recorder.came == []


async def test_a_replaced_service_can_be_invited_into_the_session_again(
    manager: ManagerStandIn, endpoint: str, recorder: RecordingService
) -> None:
    second = invite(id="inv_2", attempt=2, identity="sm-asr-service-2")
    await manager.post(endpoint, invite())
    assert await manager.post(endpoint, second) == 200
    await manager.post(endpoint, session_ended(invite(), "replaced"))
    await until_alone(recorder, but=1)
    assert recorder.reasons == ["replaced"]
    assert recorder.service.jobs[0].invite == second


async def test_beyond_its_capacity_invites_get_429(manager: ManagerStandIn) -> None:
    recorder = RecordingService(capacity=2)
    sent = [invite(id=f"inv_{n}", session=invited_session(f"session-{n}")) for n in range(4)]
    async with recorder.service.serving(manager.settings()) as endpoint:
        assert [await manager.post(endpoint, one) for one in sent[:3]] == [200, 200, 429]
        assert await manager.post(endpoint, sent[0]) == 200  # it is in already
        await manager.post(endpoint, session_ended(sent[0]))
        await until_alone(recorder, but=1)
        assert await manager.post(endpoint, sent[3]) == 200


async def test_a_draining_service_refuses_invites_and_lets_jobs_end(
    manager: ManagerStandIn, recorder: RecordingService
) -> None:
    other = invite(id="inv_2", session=invited_session("session-2"))
    async with recorder.service.serving(manager.settings()) as endpoint:
        await manager.post(endpoint, invite())
        draining = asyncio.create_task(recorder.service.drain())
        await manager.until(lambda: manager.beats == [{"draining": True}])
        assert [await manager.post(endpoint, one) for one in (invite(), other)] == [200, 503]
        assert not draining.done()
        await manager.post(endpoint, session_ended(invite()))
        assert await draining
        assert manager.removed == []
    assert recorder.reasons == ["closed"]


async def test_draining_ends_at_the_latest_after_its_timeout(
    manager: ManagerStandIn, recorder: RecordingService
) -> None:
    async with recorder.service.serving(manager.settings()) as endpoint:
        await manager.post(endpoint, invite())
        assert not await asyncio.wait_for(recorder.service.drain(0.05), 2)
    assert recorder.reasons == ["service_stopped"]


async def test_invites_of_two_sessions_start_two_session_jobs(
    manager: ManagerStandIn, endpoint: str, recorder: RecordingService
) -> None:
    other = invite(id="inv_2", session=invited_session("session-2"))
    assert [await manager.post(endpoint, one) for one in (invite(), other)] == [200, 200]
    await manager.post(endpoint, session_ended(other, reason="expired"))
    await until_alone(recorder, but=1)
    assert recorder.reasons == ["expired"]
    assert recorder.service.jobs[0].invite.id == "inv_1"


async def test_a_declined_invite_gets_409_and_can_be_sent_again(
    manager: ManagerStandIn, endpoint: str, recorder: RecordingService
) -> None:
    recorder.declining = True
    assert await manager.post(endpoint, invite()) == 409
    recorder.declining = False
    assert await manager.post(endpoint, invite()) == 200
    assert len(recorder.came) == 2


async def test_a_handler_that_raises_gets_500_and_the_invite_can_be_sent_again(
    manager: ManagerStandIn, endpoint: str, recorder: RecordingService
) -> None:
    recorder.failing = True
    assert await manager.post(endpoint, invite()) == 500
    recorder.failing = False
    assert await manager.post(endpoint, invite()) == 200


async def test_a_slow_handler_counts_as_accepted(manager: ManagerStandIn) -> None:
    service = Service("asr-service", type="ASR", grace=0)

    @service.on_invite
    async def load_first(job: SessionJob) -> None:
        await never()

    async with service.serving(manager.settings()) as endpoint:
        assert await manager.post(endpoint, invite()) == 200


async def test_a_session_ended_message_without_a_job_is_acknowledged(manager: ManagerStandIn, endpoint: str) -> None:
    assert await manager.post(endpoint, session_ended(invite())) == 200


async def test_a_handler_that_does_not_stop_is_cancelled_after_its_grace(manager: ManagerStandIn) -> None:
    service = Service("asr-service", type="ASR", grace=0.05)
    cancelled = asyncio.Event()

    @service.on_invite
    async def never_ends(job: SessionJob) -> None:
        job.accept()
        try:
            await never()
        finally:
            cancelled.set()

    async with service.serving(manager.settings()) as endpoint:
        await manager.post(endpoint, invite())
        await manager.post(endpoint, session_ended(invite()))
        async with waiting_for("the handler to be cancelled", lambda: service.jobs):
            await cancelled.wait()


async def test_a_session_job_ends_when_a_task_it_started_raises(manager: ManagerStandIn) -> None:
    service = Service("asr-service", type="ASR", grace=600)
    over = asyncio.Event()

    async def fail() -> None:
        raise RuntimeError("the model has crashed")

    @service.on_invite
    async def start_something(job: SessionJob) -> None:
        job.accept()
        job.start(fail())
        try:
            await job.ended()
        finally:
            over.set()

    async with service.serving(manager.settings()) as endpoint:
        await manager.post(endpoint, invite())
        async with waiting_for("the session job to end", lambda: service.jobs):
            await over.wait()


async def test_a_service_that_stops_ends_its_session_jobs(manager: ManagerStandIn, recorder: RecordingService) -> None:
    async with recorder.service.serving(manager.settings()) as endpoint:
        await manager.post(endpoint, invite())
    assert recorder.reasons == ["service_stopped"]
    assert recorder.service.jobs == ()


async def test_two_services_in_one_process_are_independent(manager: ManagerStandIn) -> None:
    asr, llm = (
        Service("asr-service", type="ASR", grace=0.05),
        Service("llm-service", type="LLM", path="/hook", grace=0.05),
    )
    came: list[str] = []
    for service in (asr, llm):

        @service.on_invite
        async def note(job: SessionJob) -> None:
            came.append(job.invite.service_id)

    async with asr.serving(manager.settings()) as to_asr, llm.serving(manager.settings()) as to_llm:
        invites: dict[str, Invite] = {to_asr: invite(), to_llm: invite("llm-service")}
        assert [await manager.post(endpoint, one) for endpoint, one in invites.items()] == [200, 200]
    assert came == ["asr-service", "llm-service"]
    assert to_llm.endswith("/hook")


async def until_alone(recorder: RecordingService, but: int = 0) -> None:
    await until(lambda: recorder.service.jobs, lambda jobs: len(jobs) <= but)


@pytest.mark.parametrize("header", ["Origin", "origin", "sec-fetch-site"])
async def test_signed_message_of_a_web_page_is_refused(endpoint: str, recorder: RecordingService, header: str) -> None:
    """It may know the secret of dev mode, and reach loopback by DNS rebinding."""
    body = invite().model_dump_json().encode()
    headers = {"Authorization": signature(body, KEY, SECRET), header: "http://evil.example"}
    async with aiohttp.ClientSession() as http, http.post(endpoint, data=body, headers=headers) as answer:
        assert answer.status == 403
    assert recorder.came == []
