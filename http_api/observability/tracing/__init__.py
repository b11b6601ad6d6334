"""Traces: where each session spent its time, as spans sent by OTLP.

Only `otel.py` imports OpenTelemetry. Without an endpoint no spans are made, and the trace context of a request is
passed on unchanged.
"""

from __future__ import annotations

from typing import Protocol

from aiohttp import web

from http_api.observability.exit_budget import ExitBudget
from http_api.observability.tracing.spans import Span
from http_api.settings.settings import Settings
from manager_agent.outbound.invites import trace_passed_on
from manager_agent.session.required_service import RequiredService
from manager_agent.session.session import Session
from manager_agent.store.store import Change
from manager_agent.traceparent import TraceContext


class Tracing(Protocol):
    """Records spans."""

    async def start(self) -> None: ...

    async def aclose(self, budget: ExitBudget) -> None:
        """Export the remaining spans, as far as the budget allows."""

    def begin(self, incoming: TraceContext | None) -> TraceContext | None:
        """The context of a new span for a request with this incoming context; `incoming` itself if no spans are
        made."""

    def of_attempt(self, session: Session, service: RequiredService) -> TraceContext | None:
        """The trace context to pass to a service with the invite of its current attempt."""

    def record(self, span: Span) -> None:
        """Record a finished span."""

    def tell(self, change: Change) -> None:
        """Record the spans that this change ended. A listener for the store."""


class Untraced:
    """Tracing is off: no spans are made."""

    async def start(self) -> None: ...

    async def aclose(self, budget: ExitBudget) -> None: ...

    def begin(self, incoming: TraceContext | None) -> TraceContext | None:
        return incoming

    def of_attempt(self, session: Session, service: RequiredService) -> TraceContext | None:
        return trace_passed_on(session, service)

    def record(self, span: Span) -> None: ...

    def tell(self, change: Change) -> None: ...


def tracing_of(settings: Settings) -> Tracing:
    """The tracing that the settings ask for, not started."""
    if settings.traces_url is None:
        return Untraced()
    from http_api.observability.tracing.otel import exporting  # loads OpenTelemetry: a tenth of a second

    return exporting(settings)


TRACING: web.AppKey[Tracing] = web.AppKey("TRACING")
