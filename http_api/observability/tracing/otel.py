"""Export spans with OpenTelemetry, in the background. Only this file imports it.

It uses its own tracer provider and leaves the process's global one to livekit-agents.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import requests
import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision, TraceIdRatioBased
from opentelemetry.sdk.version import __version__ as sdk_version
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from http_api import VERSION
from http_api.observability.exit_budget import KEPT_FOR_LOGS, ExitBudget
from http_api.observability.resource import resource_of
from http_api.observability.tracing.export_warnings import ExportWarnings
from http_api.observability.tracing.history import spans_of
from http_api.observability.tracing.spans import Span, SpanRole, attempt_trace
from http_api.settings.settings import Settings
from manager_agent.proxy_rule import proxy_rule
from manager_agent.session.required_service import RequiredService
from manager_agent.session.session import Session
from manager_agent.store.store import Change
from manager_agent.traceparent import RANDOM, SAMPLED, TraceContext

log = structlog.get_logger()

QUEUE_MAX, BATCH_MAX, BATCH_EVERY_MS = 8_192, 512, 1_000
"""The maximum number of queued spans (the oldest are dropped first), of spans per batch, and the export interval."""
EXPORT_TIMEOUT = 10.0
"""Seconds for one batch, including retries."""
ATTRIBUTE_MAX = 1_024
"""The maximum length of an attribute in characters."""


def exporting(settings: Settings) -> OtelTracing:
    """The Tracing that exports to the collector in the settings, not started."""
    headers = {name: value.get_secret_value() for name, value in settings.otel_exporter_otlp_headers.items()}
    exporter = OTLPSpanExporter(
        endpoint=settings.traces_url,
        headers=headers,
        timeout=EXPORT_TIMEOUT,
        compression=Compression.Gzip,
        session=_session(settings.traces_url or ""),
    )
    return OtelTracing(exporter, resource=resource_of(settings), ratio=settings.otel_traces_sampler_arg)


def _session(url: str) -> requests.Session | None:
    """A session that reaches the collector as our rule says; None, for the exporter's own, when no proxy is set."""
    rule = proxy_rule()
    if rule.is_empty:
        return None
    session, proxy = requests.Session(), rule.of(url)
    session.trust_env = False  # the variables are changed for LiveKit's SDK
    session.proxies = {} if proxy is None else {"http": proxy, "https": proxy}
    return session


def _in_batches(exporter: SpanExporter) -> SpanProcessor:
    return BatchSpanProcessor(exporter, QUEUE_MAX, BATCH_EVERY_MS, BATCH_MAX)


class OtelTracing:
    """The Tracing that exports spans."""

    def __init__(
        self,
        exporter: SpanExporter,
        *,
        resource: Mapping[str, str],
        ratio: float = 1.0,
        processor: Callable[[SpanExporter], SpanProcessor] = _in_batches,
    ) -> None:
        """`resource`: attributes that identify this process. `ratio`: the fraction of new traces to record; incoming
        traces keep their parent's sampling decision. `processor`: makes the span processor for the exporter."""
        self._exporter, self._processor = _Counted(exporter), processor
        self._recorded = 0
        self._sampler, self._ids, self._export_warnings = TraceIdRatioBased(ratio), _Ids(), ExportWarnings()
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,  # spans that are not sampled are filtered out in record()
            resource=_resource(resource),
            shutdown_on_exit=False,
            id_generator=self._ids,
            span_limits=SpanLimits(max_span_attribute_length=ATTRIBUTE_MAX),
        )
        self._tracer = self._provider.get_tracer("livekit-session-manager", VERSION)

    async def start(self) -> None:
        self._export_warnings.install()
        self._provider.add_span_processor(self._processor(self._exporter))  # starts a thread

    async def aclose(self, budget: ExitBudget) -> None:
        """Export the remaining spans. The threads are daemons and do not delay the exit of the process."""
        loop, flushed = asyncio.get_running_loop(), asyncio.Event()

        def flush() -> None:
            self._provider.shutdown()
            self._export_warnings.uninstall()
            with suppress(RuntimeError):  # the loop is closed: aclose() timed out
                loop.call_soon_threadsafe(flushed.set)

        threading.Thread(target=flush, name="flush of traces", daemon=True).start()
        try:
            async with asyncio.timeout(budget.left(kept=KEPT_FOR_LOGS)):
                await flushed.wait()
        except TimeoutError:
            lost = min(self._recorded - self._exporter.done, QUEUE_MAX + BATCH_MAX)  # any beyond were dropped before
            self._exporter.shutdown()  # stops retries
            log.warning("traces_not_flushed", count=lost)

    def begin(self, incoming: TraceContext | None) -> TraceContext:
        span_id = f"{self._ids.generate_span_id():016x}"
        if incoming is not None:
            return incoming.at(span_id)
        trace_id = self._ids.generate_trace_id()
        sampled = self._sampler.should_sample(None, trace_id, "").decision is Decision.RECORD_AND_SAMPLE
        return TraceContext(f"{trace_id:032x}", span_id, RANDOM | (SAMPLED if sampled else 0))

    def of_attempt(self, session: Session, service: RequiredService) -> TraceContext | None:
        return attempt_trace(session, service.current)

    def tell(self, change: Change) -> None:
        for span in spans_of(change):
            self.record(span)

    def record(self, span: Span) -> None:
        known = span.context or span.parent
        if known is None or not known.sampled:
            return
        with self._ids.given(span.context):
            recorded = self._tracer.start_span(
                span.name,
                context=Context()
                if span.parent is None
                else _context(span.parent, is_remote=span.kind is SpanRole.SERVER),
                kind=SpanKind[span.kind.name],
                attributes=span.attributes,
                links=[Link(_span_context(span.link))] if span.link else (),
                start_time=_nanoseconds(span.start),
            )
        if span.error is not None:
            recorded.set_status(Status(StatusCode.ERROR, span.error))
        recorded.end(_nanoseconds(span.end))
        self._recorded += 1


class _Counted(SpanExporter):
    """An exporter that counts the spans it has finished with, exported or not."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter, self.done = exporter, 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            return self._exporter.export(spans)
        finally:
            self.done += len(spans)

    def shutdown(self) -> None:
        self._exporter.shutdown()


class _Ids(RandomIdGenerator):
    """Generates random ids, except for a span whose context is given."""

    def __init__(self) -> None:
        self._given: TraceContext | None = None

    @contextmanager
    def given(self, context: TraceContext | None) -> Iterator[None]:
        self._given = context
        try:
            yield
        finally:
            self._given = None

    def generate_span_id(self) -> int:
        return super().generate_span_id() if self._given is None else int(self._given.span_id, 16)

    def generate_trace_id(self) -> int:
        return super().generate_trace_id() if self._given is None else int(self._given.trace_id, 16)


def _resource(about: Mapping[str, str]) -> Resource:
    """The resource, including the SDK's attributes. Resource.create() would read the environment."""
    sdk = {"telemetry.sdk.language": "python", "telemetry.sdk.name": "opentelemetry"}
    return Resource({**about, **sdk, "telemetry.sdk.version": sdk_version})


def _context(parent: TraceContext, *, is_remote: bool) -> Context:
    return set_span_in_context(NonRecordingSpan(_span_context(parent, is_remote=is_remote)), Context())


def _span_context(trace: TraceContext, *, is_remote: bool = False) -> SpanContext:
    state = TraceState.from_header([trace.state]) if trace.state else None
    return SpanContext(int(trace.trace_id, 16), int(trace.span_id, 16), is_remote, TraceFlags(trace.flags), state)


def _nanoseconds(at: float) -> int:
    return int(at * 1e9)
