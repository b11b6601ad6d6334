"""Spans as values: name, start, end, trace and parent. PURE.

The ids of spans that others refer to are computed from what the spans are about, so nothing needs to be stored while a
span is open. A service receives the context of its attempt's span long before that span ends and is recorded, and a
process that takes over a session computes the same ids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from manager_agent.session.attempt import Attempt
from manager_agent.session.session import Session
from manager_agent.traceparent import TraceContext

Attribute: TypeAlias = str | int | float | bool


class SpanRole(StrEnum):
    """OpenTelemetry's span kinds that are used here."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class Span:
    """A finished span. Instants are in seconds since the epoch."""

    name: str
    parent: TraceContext | None
    """None for a root span."""
    start: float
    end: float
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    error: str | None = None
    """Why it failed; None if it did not."""
    kind: SpanRole = SpanRole.INTERNAL
    context: TraceContext | None = None
    """The span's own context; None if nothing refers to it."""
    link: TraceContext | None = None
    """A related span in another trace."""


def session_trace(session: Session) -> TraceContext | None:
    """The context of the span of the whole session; None if the session is not traced."""
    asked = session.trace
    return None if asked is None else asked.at(span_id(session.session_id))


def attempt_trace(session: Session, attempt: Attempt) -> TraceContext | None:
    """The context of the span of an attempt; None if the session is not traced."""
    asked = session.trace
    return None if asked is None else asked.at(span_id(session.session_id, attempt.invite_id))


def span_id(*about: str) -> str:
    """A span id of 16 hexadecimal digits, computed from the given parts."""
    return hashlib.blake2b("/".join(about).encode(), digest_size=8).hexdigest()
