"""One session is one trace, with a real livekit-server, real services and a real OpenTelemetry Collector."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from manager_agent.messages import Invite
from tests.live.bots import Bot
from tests.live.conftest import Site, Stack, StartStack
from tests.otel_collector import OtelCollector
from tests.waiting import eventually

pytestmark = pytest.mark.live

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"
JOIN_TIMEOUT = 6.0
"""Seconds: what a test waits until a service is replaced, and what its successor has on a busy machine."""
FAILED = 2
"""OTLP's status code of an error."""


@pytest.fixture
async def stack(start_stack: StartStack, site: Site, otel_collector: OtelCollector) -> Stack:
    return await start_stack(
        site, OTEL_EXPORTER_OTLP_ENDPOINT=otel_collector.endpoint, service_join_timeout=JOIN_TIMEOUT
    )


async def ended(stack: Stack, collector: OtelCollector, session_id: str) -> list[dict[str, Any]]:
    """Close the session and return the spans of its trace, once they have arrived."""
    headers = {"traceparent": TRACEPARENT}
    async with stack.http.delete(f"/api/v1/sessions/{session_id}", headers=headers) as answer:
        assert answer.status == 200
    last = ("clean up", "DELETE /api/v1/sessions/{session_id}")
    await collector.until(lambda: {span["name"] for span in collector.spans()}.issuperset(last))
    return [span for span in collector.spans() if span["traceId"] == TRACE_ID]


def tree(spans: list[dict[str, Any]], below: str = SPAN_ID, indent: str = "") -> Iterator[str]:
    """Every span below the caller's, with the reason if it failed, in order of start and end."""
    children = [span for span in spans if span.get("parentSpanId") == below]
    for span in sorted(children, key=lambda span: (int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"]))):
        status = span.get("status", {})
        error = f" !{status['message']}" if status.get("code") == FAILED else ""
        yield f"{indent}{span['name']}{error}"
        yield from tree(spans, span["spanId"], indent + "  ")


def told(bot: Bot) -> list[str | None]:
    """The traceparent of every message to this bot."""
    return [headers.get("traceparent") for headers in bot.headers]


def of_attempt(span: dict[str, Any]) -> str:
    """The traceparent that the service of this attempt should get."""
    return f"00-{TRACE_ID}-{span['spanId']}-01"


async def test_session_is_one_trace_from_request_to_end(stack: Stack, otel_collector: OtelCollector) -> None:
    asr, llm = await stack.bot("asr", "ASR"), await stack.bot("llm", "LLM", ready_on="signal")
    body = {"user_identity": "alice", "required_services": ["asr", "llm"]}
    asking = asyncio.create_task(stack.http.post("/api/v1/sessions", json=body, headers={"traceparent": TRACEPARENT}))
    await asyncio.gather(asr.invited(), llm.invited())
    await asyncio.gather(asr.join(), llm.join())
    await llm.say_by_rpc()
    async with await asking as answer:
        session = await answer.json()
        assert answer.status == 201, session
    session_id = session["session_id"]
    await stack.until(session_id, lambda latest: latest.manager.presence.here)
    spans = await ended(stack, otel_collector, session_id)
    await asyncio.gather(asr.told_goodbye(), llm.told_goodbye())
    steps = [line.strip() for line in tree(spans)]
    assert sorted(steps) == sorted(
        [
            "POST /api/v1/sessions", "session", "create room", "dispatch manager", "token", "clean up",
            "attempt ASR", "invite", "join", "ready", "attempt LLM", "invite", "join", "ready",
            "DELETE /api/v1/sessions/{session_id}",
        ]
    )  # fmt: skip
    assert len(steps) == len(spans) == len(otel_collector.spans()), "nobody else's are among them"
    attempts = {span["attributes"]["service_id"]: span for span in spans if span["name"].startswith("attempt")}
    (whole,) = (span for span in spans if span["name"] == "session")
    assert {span["parentSpanId"] for span in attempts.values()} == {whole["spanId"]}
    assert [attempts[name]["attributes"]["evidence"] for name in ("asr", "llm")] == ["join", "message"]
    assert told(asr) == [of_attempt(attempts["asr"])] * 2, "the invite and the message that the session ended"
    assert told(llm) == [of_attempt(attempts["llm"])] * 2
    assert asr.invites[0].traceparent == of_attempt(attempts["asr"])


async def test_failed_attempt_is_a_span_with_its_reason(stack: Stack, otel_collector: OtelCollector) -> None:
    """A service that accepts and does not join, and its replacement."""
    idle = await stack.bot("idle")
    body = {"user_identity": "alice", "required_services": [{"type": "BOT"}]}
    asking = asyncio.create_task(stack.http.post("/api/v1/sessions", json=body, headers={"traceparent": TRACEPARENT}))
    await idle.invited()
    good = await stack.bot("good")
    await good.invited()
    await good.join()
    async with await asking as answer:
        session = await answer.json()
    spans = await ended(stack, otel_collector, session["session_id"])
    first, second = sorted(
        (span for span in spans if span["name"] == "attempt BOT"), key=lambda span: span["attributes"]["attempt"]
    )
    assert (first["attributes"]["service_id"], second["attributes"]["service_id"]) == ("idle", "good")
    assert list(tree(spans, first["spanId"])) == ["invite", "join !never_joined"]
    assert first["status"] == {"code": FAILED, "message": "never_joined"}
    assert list(tree(spans, second["spanId"])) == ["invite", "join", "ready"]
    assert second.get("status", {}) == {}
    assert set(told(idle)) == {of_attempt(first)}
    assert set(told(good)) == {of_attempt(second)}


async def test_dispatch_metadata_has_the_traceparent_of_the_attempt(
    stack: Stack, otel_collector: OtelCollector
) -> None:
    registration = {"service_id": "agent", "agent_name": "an-agent", "metadata": {"type": "AGENT"}}
    async with stack.http.post("/api/v1/microservices/register", json=registration) as answer:
        assert answer.status == 201
    body = {"user_identity": "alice", "required_services": ["agent"]}
    headers = {"traceparent": TRACEPARENT, "Prefer": "respond-async"}
    async with stack.http.post("/api/v1/sessions", json=body, headers=headers) as answer:
        session = await answer.json()

    async def notes() -> list[str]:
        dispatches = await stack.livekit.agent_dispatch.list_dispatch(session["room_name"])
        return [dispatch.metadata for dispatch in dispatches if dispatch.agent_name == "an-agent"]

    invites = [Invite.model_validate_json(note) for note in await eventually("the dispatch of the agent", notes)]
    spans = await ended(stack, otel_collector, session["session_id"])
    (attempt,) = (span for span in spans if span["name"] == "attempt AGENT")
    assert [invite.traceparent for invite in invites] == [of_attempt(attempt)]


async def test_services_get_the_requests_traceparent_without_a_collector(start_stack: StartStack, site: Site) -> None:
    stack = await start_stack(site)
    bot = await stack.bot("asr")
    body = {"user_identity": "alice", "required_services": ["asr"]}
    headers = {"traceparent": TRACEPARENT, "tracestate": "congo=t61rcWkgMzE", "Prefer": "respond-async"}
    async with stack.http.post("/api/v1/sessions", json=body, headers=headers) as answer:
        session = await answer.json()
    await bot.invited()
    await bot.join()
    await stack.logged("manager_joined", 1)
    async with stack.http.delete(f"/api/v1/sessions/{session['session_id']}"):
        await bot.told_goodbye()
    assert told(bot) == [TRACEPARENT] * 2
    assert [sent["tracestate"] for sent in bot.headers] == ["congo=t61rcWkgMzE"] * 2
    (joined,) = [line for line in stack.log.getvalue().splitlines() if "manager_joined" in line]
    assert f"trace_id={TRACE_ID}" in joined
