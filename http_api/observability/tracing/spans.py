"""Spans as values: what took from when until when, in which trace, below what. PURE.

The id of a span that others refer to is computed from what it is about. So nothing has to be remembered while it
lasts: a service is told the span of its attempt long before its end makes it one, and a process that takes a session
over computes the same ids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from manager_agent.session.required_service import Attempt
from manager_agent.session.session import Session
from manager_agent.traceparent import TraceContext

Attribute: TypeAlias = str | int | float | bool


class Kind(StrEnum):
    """OpenTelemetry's, of which three occur here."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class Span:
    """One that is over. Instants are in seconds since the epoch."""

    name: str
    parent: TraceContext | None
    """None: its trace begins with it."""
    start: float
    end: float
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    error: str | None = None
    """Why it failed; None if it did not."""
    kind: Kind = Kind.INTERNAL
    context: TraceContext | None = None
    """Its own; None if nothing refers to it."""
    link: TraceContext | None = None
    """A span of another trace that has to do with it."""


def session_trace(session: Session) -> TraceContext | None:
    """The span of the session's whole life; None if it is not traced."""
    asked = session.trace
    return None if asked is None else asked.at(span_id(session.session_id))


def attempt_trace(session: Session, attempt: Attempt) -> TraceContext | None:
    """The span of an attempt to get a service; None if the session is not traced."""
    asked = session.trace
    return None if asked is None else asked.at(span_id(session.session_id, attempt.invite_id))


def span_id(*about: str) -> str:
    return hashlib.blake2b("/".join(about).encode(), digest_size=8).hexdigest()
