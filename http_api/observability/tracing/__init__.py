"""Traces: where each session spent its time, as spans sent by OTLP.

Only `otel.py` imports OpenTelemetry. Without an endpoint no spans are made, and the trace context of a request is
passed on unchanged.
"""

from __future__ import annotations

from typing import Protocol

from aiohttp import web

from http_api.observability.exit_budget import ExitBudget
from http_api.observability.tracing.otel import exporting
from http_api.observability.tracing.spans import Span
from http_api.settings.settings import Settings
from manager_agent.outbound.invites import trace_passed_on
from manager_agent.session.session import RequiredService, Session
from manager_agent.store.store import Change
from manager_agent.traceparent import TraceContext


class Tracing(Protocol):
    """Where spans go."""

    async def start(self) -> None: ...

    async def aclose(self, budget: ExitBudget) -> None:
        """Sends what still waits, as far as that is done within the budget."""

    def begin(self, incoming: TraceContext | None) -> TraceContext | None:
        """The span of a request that came with this context: the same if it has no span of its own."""

    def of_attempt(self, session: Session, service: RequiredService) -> TraceContext | None:
        """What a service is told of the attempt that it was invited for."""

    def record(self, span: Span) -> None:
        """Takes a span that is over."""

    def tell(self, change: Change) -> None:
        """Takes the spans that this change ended; for the store's listen()."""


class Untraced:
    """Makes no spans."""

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
    return Untraced() if settings.traces_url is None else exporting(settings)


TRACING: web.AppKey[Tracing] = web.AppKey("TRACING")
