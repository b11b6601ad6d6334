"""`Operation`: one operation of the API, as routing, admission and the OpenAPI document see it.

routes.py lists the operations, app.py serves them, openapi/ documents them.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from http import HTTPStatus
from types import UnionType
from typing import TypeAlias

from aiohttp.typedefs import Handler
from pydantic import BaseModel

from http_api.access.principals import Permission, Proof

Shape: TypeAlias = type[BaseModel] | UnionType
"""The shape of a JSON value: one model or a union of models."""


class Tag(StrEnum):
    SESSIONS = "sessions"
    TOKENS = "tokens"
    SERVICES = "services"
    OPERATIONS = "operations"


class Media(StrEnum):
    """The media type of a response."""

    JSON = "application/json"
    EVENTS = "text/event-stream"
    HTML = "text/html"
    TEXT = "text/plain"


@dataclass(frozen=True, slots=True)
class ResponseSpec:
    """One successful response of an operation."""

    description: str
    """When it is sent, or what it contains: the first word in lower case, no full stop."""
    view: Shape | None = None
    """The model of the body, or of each event's data. None: no body, or one that is not JSON."""
    media: Media = Media.JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    """Header name -> description, in addition to the headers that every response has."""
    events: tuple[str, ...] = ()
    """The names of the events in a stream. Empty when its events have ids instead of names."""


@dataclass(frozen=True)
class Operation:
    id: str
    """The operationId, such as `sessions_create`. Stable: generated clients and metric labels use it."""
    method: str
    path: str
    handler: Handler
    tag: Tag
    access: Permission
    answers: Mapping[HTTPStatus, ResponseSpec]
    errors: tuple[type[Exception], ...] = ()
    """The errors that the handler raises in addition to those common to all operations. problems.py maps them to
    statuses."""
    body: type[BaseModel] | None = None
    needs_body: bool = True
    proof: Proof | None = None
    """The credential that the handler verifies itself, when `access` is OWN_PROOF."""
    query: type[BaseModel] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    """Request header name -> description, for the headers that the operation uses."""
    is_idempotent: bool = False
    """Whether it supports Idempotency-Key."""
    creates: bool = False
    """Whether it creates a session and counts against the limits on creation."""
    is_documented: bool = True
    """Whether it is in the OpenAPI document."""
    is_vital: bool = False
    """Exempt from rate limits: health checks by a supervisor, and LiveKit's webhooks."""

    @cached_property
    def changes(self) -> bool:
        """Whether it may change a session or a service."""
        return self.method != "GET" and not self.is_vital

    @cached_property
    def reads_state(self) -> bool:
        """Whether it reads or may change a session or a service. Files, health checks and metrics do not."""
        return self.access not in (Permission.PUBLIC, Permission.METRICS)

    @cached_property
    def is_stream(self) -> bool:
        """Whether it answers with server-sent events."""
        return any(answer.media is Media.EVENTS for answer in self.answers.values())

    @property
    def summary(self) -> str:
        """The OpenAPI summary: the first line of the handler's docstring."""
        return self._docstring.partition("\n")[0]

    @property
    def description(self) -> str:
        """The OpenAPI description: the rest of the handler's docstring."""
        return self._docstring.partition("\n")[2].strip()

    @property
    def _docstring(self) -> str:
        return inspect.getdoc(self.handler) or ""
