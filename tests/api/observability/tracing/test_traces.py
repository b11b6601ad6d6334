"""The trace of a session, at a collector and in the logs."""

from __future__ import annotations

import asyncio
import gc
import io
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import ClientTimeout
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from http_api.access.principals import Permission
from http_api.observability import logs
from http_api.observability.resource import INSTANCE_ID
from http_api.observability.tracing.otel import OtelTracing
from http_api.observability.tracing.spans import Span
from http_api.operations import Operation
from http_api.routes import OPERATIONS
from http_api.settings.settings import DevSettings, Settings
from tests.api.stand_ins import Api, StartApi
from tests.otel_collector import OtelCollector
from tests.tenants import ACME, bearer, livekit_token, production
from tests.waiting import described, waiting_for

pytestmark = pytest.mark.api

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"
RESOURCE = {"service.name": "session-manager"}
READY = "POST /api/v1/sessions/{session_id}/ready"


class Exported:
    """The spans that a collector would have received."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()

    def tracing(self, ratio: float = 1.0) -> OtelTracing:
        return OtelTracing(self._exporter, resource=RESOURCE, ratio=ratio, processor=SimpleSpanProcessor)

    def clear(self) -> None:
        self._exporter.clear()

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.spans]

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> ReadableSpan:
        """The only span of that name."""
        (span,) = (span for span in self.spans if span.name == name)
        return span

    async def until(self, wanted: Callable[[list[str]], bool]) -> None:
        """Return once the names of the spans are as wanted."""
        async with waiting_for(described(wanted), lambda: self.names):
            while not wanted(self.names):
                await asyncio.sleep(0.001)

    @property
    def tree(self) -> list[str]:
        """Every span below its parent, with the reason if it failed, in order of names."""
        return list(self._below(None, ""))

    def _below(self, parent: ReadableSpan | None, indent: str) -> Any:
        own = {span.context.span_id for span in self.spans}
        for span in sorted(self.spans, key=lambda span: span.name):
            of = span.parent.span_id if span.parent is not None and span.parent.span_id in own else None
            if of == (parent and parent.context.span_id):
                error = f" !{span.status.description}" if span.status.status_code is StatusCode.ERROR else ""
                yield f"{indent}{span.name}{error}"
                yield from self._below(span, indent + "  ")


@pytest.fixture
def exported() -> Exported:
    return Exported()


@pytest.fixture
async def traced(start_api: StartApi, exported: Exported) -> Api:
    return await start_api(tracing=exported.tracing())


async def opened(api: Api, *services: str, **headers: str) -> Any:
    """The first answer for a session created with these headers."""
    await api.register(*services)
    body = {"user_identity": "alice", "required_services": list(services)}
    _, _, session = await api.ask("POST", "/sessions", body, {"Prefer": "respond-async", **headers})
    return session


def trace_ids(exported: Exported) -> set[str]:
    return {f"{span.context.trace_id:032x}" for span in exported.spans}


async def test_session_is_one_trace_below_its_request(traced: Api, exported: Exported) -> None:
    session = await opened(traced, "asr-service", traceparent=TRACEPARENT, tracestate="congo=t61rcWkgMzE")
    path = f"/sessions/{session['session_id']}"
    assert (await traced.say_ready(session["session_id"], "asr-service"))[0] == 200
    await traced.until(session["session_id"], lambda latest: latest.ready_at is not None)
    assert (await traced.ask("POST", path + "/token", headers={"traceparent": TRACEPARENT}))[0] == 200
    assert (await traced.ask("DELETE", path, headers={"traceparent": TRACEPARENT}))[0] == 200
    assert exported.tree == [
        "DELETE /api/v1/sessions/{session_id}",
        "POST /api/v1/sessions",
        "  session",
        "    attempt ASR",
        "      invite",
        "      join",
        "      ready",
        "    clean up",
        "    create room",
        "    dispatch manager",
        "    token",
        "POST /api/v1/sessions/{session_id}/token",
    ]
    assert trace_ids(exported) == {TRACE_ID}
    request = exported.named("POST /api/v1/sessions")
    assert request.parent is not None
    assert (f"{request.parent.span_id:016x}", request.kind) == (SPAN_ID, SpanKind.SERVER)
    assert {span.context.trace_state.to_header() for span in exported.spans if span.name == "join"} == {
        "congo=t61rcWkgMzE"
    }
    called = {span.name for span in exported.spans if span.parent is not None and span.parent.is_remote}
    assert called == {span.name for span in exported.spans if span.kind is SpanKind.SERVER}, "all others are ours"
    attempt = dict(exported.named("attempt ASR").attributes or {})
    assert (attempt["service_id"], attempt["attempt"], attempt["evidence"]) == ("asr-service", 1, "http")


async def test_request_span_follows_the_http_conventions(traced: Api, exported: Exported) -> None:
    headers = {"X-Request-Id": "mine", "User-Agent": "test/1"}
    status, _, _ = await traced.ask(
        "POST", "/sessions", {"user_identity": "alice", "required_services": ["x"]}, headers
    )
    request = exported.named("POST /api/v1/sessions")
    assert status == 424
    assert request.parent is None
    assert request.status.status_code is StatusCode.UNSET, "it is its caller who was wrong"
    assert dict(request.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/api/v1/sessions",
        "http.response.status_code": 424,
        "url.scheme": "http",
        "url.path": "/api/v1/sessions",
        "network.protocol.version": "1.1",
        "client.address": "127.0.0.1",
        "user_agent.original": "test/1",
        "request_id": "mine",
        "problem": "service_not_available",
    }
    assert dict(request.resource.attributes)["service.name"] == "session-manager"


async def test_internal_error_sets_the_error_status_of_the_span(traced: Api, exported: Exported) -> None:
    traced.livekit.broken = True
    status, _, _ = await traced.open(prefer="")
    request = exported.named("POST /api/v1/sessions")
    assert (status, request.status.status_code, request.status.description) == (500, StatusCode.ERROR, "internal_error")
    assert (request.attributes or {})["error.type"] == "internal_error"


async def test_disconnected_client_ends_its_request_span(traced: Api, exported: Exported) -> None:
    await traced.register("asr-service")
    body = {"user_identity": "alice", "required_services": ["asr-service"]}
    asking = asyncio.create_task(traced.http.post("/api/v1/sessions", json=body, timeout=ClientTimeout(total=30)))
    await traced.has_waiting(1)
    asking.cancel()
    await exported.until(lambda names: "POST /api/v1/sessions" in names and "clean up" in names)
    request = exported.named("POST /api/v1/sessions")
    assert (request.status.description, (request.attributes or {})["error.type"]) == ("CancelledError",) * 2
    assert "http.response.status_code" not in (request.attributes or {})
    assert (exported.named("session").attributes or {})["reason"] == "client_gone"


async def test_trace_of_a_failed_session_shows_the_missing_service(start_api: StartApi, exported: Exported) -> None:
    api = await start_api(tracing=exported.tracing(), ready_timeout=2)
    await api.register("asr-service")
    assert (await api.open("asr-service", prefer=""))[0] == 504
    assert exported.tree == [
        "POST /api/v1/sessions !not_ready",
        "  session !ready_timeout",
        "    attempt ASR !never_joined",
        "      invite",
        "      join !never_joined",
        "    clean up",
        "    create room",
        "    dispatch manager !manager_did_not_come",
    ]


async def test_token_span_links_to_the_request_of_another_trace(traced: Api, exported: Exported) -> None:
    """The page of a token source has its own trace."""
    session = await opened(traced, traceparent=TRACEPARENT)
    exported.clear()
    asked = {"room_name": session["room_name"], "participant_identity": "bob"}
    assert (await traced.ask("POST", "/token", asked))[0] == 201
    given, request = exported.named("token"), exported.named("POST /api/v1/token")
    assert given.context.trace_id == int(TRACE_ID, 16) != request.context.trace_id
    assert [link.context.span_id for link in given.links] == [request.context.span_id]


async def test_token_source_session_is_one_trace(traced: Api, exported: Exported) -> None:
    await traced.register("asr-service")
    asked = {"room_config": {"agents": [{"agent_name": "asr-service"}]}}
    asking = asyncio.create_task(traced.ask("POST", "/token", asked))
    await traced.livekit.invited.wait()
    (session,) = traced.parts.store.list()
    await traced.say_ready(session.session_id, "asr-service")
    assert (await asking)[0] == 201
    await traced.parts.orchestrator.close(session.session_id)
    assert exported.tree[:3] == ["POST /api/v1/token", "  session", "    attempt ASR"]
    assert len(trace_ids(exported)) == 1


async def test_frequent_operations_have_a_span_only_in_a_traced_request(traced: Api, exported: Exported) -> None:
    session = await opened(traced)
    before = len(exported.spans)
    for path in (
        "//livez",
        "//health",
        "//openapi.json",
        "/sessions",
        f"/sessions/{session['session_id']}",
        "/nowhere",
    ):
        await traced.ask("GET", path, headers={"Accept": "*/*"})
    assert len(exported.spans) == before
    for path in ("//livez", "/nowhere", "/sessions"):
        await traced.ask("GET", path, headers={"traceparent": TRACEPARENT})
    assert exported.names[before:] == ["GET /api/v1/sessions"]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: f"{operation.method} {operation.path}")
@pytest.mark.parametrize("proof", [{}, bearer("x"), bearer(livekit_token(key="stranger", secret="s" * 32))])
async def test_unauthenticated_requests_make_no_spans(
    start_api: StartApi, exported: Exported, operation: Operation, proof: dict[str, str]
) -> None:
    """For any operation: otherwise a stranger could fill the collector."""
    api = await start_api(Settings, tracing=exported.tracing(), **production())
    path = operation.path.format(session_id="ses_1", service_id="asr-service", file="none.js")
    body = {"service_id": "asr-service"}
    sent = {"traceparent": TRACEPARENT, **proof}
    async with api.http.request(operation.method, path, json=body, headers=sent) as answer:
        assert (answer.status == 401) is (operation.access is not Permission.PUBLIC)
    assert exported.spans == ()


async def test_authenticated_callers_and_services_make_spans(start_api: StartApi, exported: Exported) -> None:
    """A service by the token of its own invite, and a caller by its key."""
    api = await start_api(Settings, tracing=exported.tracing(), **production())
    entry = {"service_id": "asr-service", "endpoint": "http://127.0.0.1:1/", "metadata": {"type": "ASR"}}
    assert (await api.ask("POST", "/microservices/register", entry, ACME.proof))[0] == 201
    wanted = {"user_identity": "alice", "required_services": ["asr-service"]}
    headers = {"Prefer": "respond-async", "traceparent": TRACEPARENT}
    _, _, session = await api.ask("POST", "/sessions", wanted, headers | ACME.proof)
    assert "POST /api/v1/sessions" in exported.names
    path, said = f"/sessions/{session['session_id']}/ready", {"service_id": "asr-service"}
    another = bearer(livekit_token("somebody", room_join=True, room=session["room_name"]))
    assert (await api.ask("POST", path, said, headers | another))[0] == 403
    assert READY not in exported.names
    own = bearer(api.livekit.invites["asr-service"])
    assert (await api.ask("POST", path, said, headers | own))[0] == 200
    assert READY in exported.names


async def test_unsampled_trace_is_passed_on_unrecorded(traced: Api, exported: Exported) -> None:
    session = await opened(traced, traceparent=TRACEPARENT[:-1] + "0")
    await traced.parts.orchestrator.close(session["session_id"])
    assert exported.spans == ()
    kept = traced.parts.store.get(session["session_id"]).trace
    assert kept is not None
    assert (kept.trace_id, kept.sampled, kept.span_id != SPAN_ID) == (TRACE_ID, False, True)


@pytest.mark.parametrize(("ratio", "recorded"), [(0.0, False), (1.0, True)])
async def test_sampling_ratio_applies_to_root_traces_only(
    start_api: StartApi, exported: Exported, ratio: float, recorded: bool
) -> None:
    api = await start_api(tracing=exported.tracing(ratio))
    session = await opened(api)
    assert bool(exported.spans) is recorded
    before = len(exported.spans)
    await opened(api, traceparent=TRACEPARENT)
    assert len(exported.spans) > before, "its beginning has decided"
    kept = api.parts.store.get(session["session_id"]).trace
    assert kept is not None
    assert kept.sampled is recorded


async def test_no_span_object_outlives_its_export(traced: Api, exported: Exported) -> None:
    """Spans are made when they end, so nothing is kept while they last."""
    others = spans_in_memory()
    for number in range(20):
        session = await opened(traced, "asr-service")
        if number % 2:
            await traced.parts.orchestrator.close(session["session_id"])
    made = Counter(exported.names)
    assert (made["session"], made["attempt ASR"], made["clean up"]) == (10, 10, 10)
    exported.clear()
    assert len(spans_in_memory()) <= len(others)


def spans_in_memory() -> list[ReadableSpan | Span]:
    gc.collect()
    return [kept for kept in gc.get_objects() if isinstance(kept, ReadableSpan | Span)]


async def test_global_tracer_provider_is_left_alone(traced: Api, exported: Exported) -> None:
    """livekit-agents makes spans with the global provider; they stay apart from ours."""
    await opened(traced)
    assert type(trace.get_tracer_provider()).__module__.startswith("opentelemetry.trace")
    with trace.get_tracer("livekit-agents").start_as_current_span("theirs") as theirs:
        assert not theirs.is_recording()
        await opened(traced, traceparent=TRACEPARENT)
    assert "theirs" not in exported.names


# --- without a collector ------------------------------------------------------------------------------


async def test_trace_context_is_kept_without_a_collector(api: Api) -> None:
    session = await opened(api, traceparent=TRACEPARENT, tracestate="congo=t61rcWkgMzE")
    kept = api.parts.store.get(session["session_id"])
    assert (kept.traceparent, kept.tracestate) == (TRACEPARENT, "congo=t61rcWkgMzE")
    asked = {"room_name": "demo", "participant_identity": "bob"}
    profile = {"room_config": {"agents": [{"agent_name": "asr-service"}]}}
    await api.register("asr-service")
    asking = asyncio.create_task(api.ask("POST", "/token", asked | profile, {"traceparent": TRACEPARENT}))
    await api.livekit.invited.wait()
    assert (of_token := api.parts.store.in_room("demo")) is not None
    assert of_token.traceparent == TRACEPARENT
    asking.cancel()


@pytest.mark.parametrize("header", [TRACEPARENT.upper(), "ff" + TRACEPARENT[2:], "x", f"00-{'0' * 32}-{SPAN_ID}-01"])
async def test_invalid_traceparent_is_ignored(api: Api, header: str) -> None:
    session = await opened(api, traceparent=header, tracestate="a=1")
    kept = api.parts.store.get(session["session_id"])
    assert (kept.traceparent, kept.tracestate) == ("", "")


@pytest.mark.parametrize("is_on", [False, True])
async def test_log_lines_of_a_session_and_its_request_have_the_trace_id(
    start_api: StartApi, exported: Exported, is_on: bool
) -> None:
    api = await start_api(tracing=exported.tracing() if is_on else None)
    log = io.StringIO()
    logs.configure(dev=False, level="debug", secrets=["secret"], stream=log)
    session = await opened(api, "asr-service", traceparent=TRACEPARENT)
    await api.say_ready(session["session_id"], "asr-service")
    await api.parts.orchestrator.close(session["session_id"])
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    about = [line for line in lines if line.get("session_id") == session["session_id"]]
    assert {line["event"] for line in about} >= {
        "session_state",
        "room_created",
        "service_accepted",
        "session_cleaned_up",
    }
    answered = [line for line in lines if line["event"] == "request" and line["path"] == "/api/v1/sessions"]
    assert len(answered) == 1
    assert {line.get("trace_id") for line in about + answered} == {TRACE_ID}
    others = [line for line in lines if line["event"] == "request" and line not in about + answered]
    assert others
    assert not any("trace_id" in line for line in others)


@pytest.mark.parametrize("is_on", [False, True])
@pytest.mark.parametrize("is_traced", [False, True])
async def test_log_line_tells_the_sessions_trace_from_the_requests(
    start_api: StartApi, exported: Exported, is_on: bool, is_traced: bool
) -> None:
    """Every line, and even where the session has no trace."""
    api = await start_api(tracing=exported.tracing() if is_on else None)
    session = await opened(api, "asr-service", **({"traceparent": TRACEPARENT} if is_traced else {}))
    own = api.parts.store.get(session["session_id"]).log_fields.get("trace_id")
    assert (own is not None) is (is_on or is_traced)
    log = io.StringIO()
    logs.configure(dev=False, level="debug", secrets=["secret"], stream=log)
    for another in ("a" * 32, "b" * 32):  # over one connection
        headers = {"traceparent": f"00-{another}-{SPAN_ID}-01"}
        assert (await api.ask("DELETE", f"/sessions/{session['session_id']}", headers=headers))[0] == 200
    assert (await api.ask("GET", "/sessions", headers={"traceparent": TRACEPARENT}))[0] == 200
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    about = [line for line in lines if line.get("session_id") == session["session_id"]]
    assert {line["event"] for line in about} >= {"session_state", "request"}
    assert {line.get("trace_id") for line in about} == {own}
    answered = [line for line in lines if line["event"] == "request"]
    assert [line.get("request_trace_id") for line in answered] == ["a" * 32, "b" * 32, None]
    assert (answered[-1]["trace_id"], "session_id" in answered[-1]) == (TRACE_ID, False)


# --- a real collector -----------------------------------------------------------------------------------


async def test_otel_collector_receives_the_spans_of_a_session(
    start_api: StartApi, otel_collector: OtelCollector
) -> None:
    """Of a session that ends with the process, which sends the queued spans."""
    api = await start_api(
        DevSettings,
        OTEL_EXPORTER_OTLP_ENDPOINT=otel_collector.endpoint,
        OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20an-ingest-key",
        OTEL_SERVICE_NAME="ours",
    )
    await opened(api, "asr-service", traceparent=TRACEPARENT)
    await api.parts.orchestrator.aclose()
    await otel_collector.until(lambda: "clean up" in [span["name"] for span in otel_collector.spans()])
    spans = {span["name"]: span for span in otel_collector.spans()}
    assert spans.keys() >= {"POST /api/v1/sessions", "session", "create room", "attempt ASR", "invite", "clean up"}
    assert {span["traceId"] for span in spans.values()} == {TRACE_ID}
    assert spans["POST /api/v1/sessions"]["parentSpanId"] == SPAN_ID
    assert spans["session"]["parentSpanId"] == spans["POST /api/v1/sessions"]["spanId"]
    assert spans["invite"]["parentSpanId"] == spans["attempt ASR"]["spanId"]
    assert spans["attempt ASR"]["attributes"]["service_id"] == "asr-service"
    resource = spans["session"]["resource"]
    assert (resource["service.name"], resource["deployment.environment.name"]) == ("ours", "default")
    assert resource["service.instance.id"] == INSTANCE_ID
