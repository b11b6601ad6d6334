"""What an operation of the API is: all that serving it, admitting to it, and documenting it have in common.

routes.py lists them; app.py serves them, openapi/ describes them.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from types import UnionType
from typing import Any, TypeAlias

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel

from http_api.access.principals import Permission, Proof

Shape: TypeAlias = type[BaseModel] | UnionType
"""What JSON is: a model, or one of several."""


class Tag(StrEnum):
    SESSIONS = "sessions"
    TOKENS = "tokens"
    SERVICES = "services"
    OPERATIONS = "operations"


class Media(StrEnum):
    """What an answer is made of."""

    JSON = "application/json"
    EVENTS = "text/event-stream"
    HTML = "text/html"
    TEXT = "text/plain"


@dataclass(frozen=True, slots=True)
class ResponseSpec:
    """One answer that is no problem."""

    says: str
    """When it is given, or what is in it."""
    view: Shape | None = None
    """Its body; for events, the data of each. None: no body, or one that is no JSON."""
    media: Media = Media.JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    """What each header says, by its name, beyond those that every answer has."""
    events: tuple[str, ...] = ()
    """The names of its events, where they have names, and no ids."""


@dataclass(frozen=True, slots=True)
class Operation:
    id: str
    """Such as `sessions_create`. Stable: generated clients and metrics name operations by it."""
    method: str
    path: str
    handler: Handler
    tag: Tag
    access: Permission
    answers: Mapping[HTTPStatus, ResponseSpec]
    errors: tuple[type[Exception], ...] = ()
    """What the handler may raise beyond what any operation may (problems.py has the status of each)."""
    body: type[BaseModel] | None = None
    needs_body: bool = True
    proof: Proof | None = None
    """What it judges itself, if its access is OWN_PROOF."""
    query: type[BaseModel] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    """What each header of the request that it heeds is for, by its name."""
    is_idempotent: bool = False
    """Heeds Idempotency-Key."""
    creates: bool = False
    """Makes a session: counts against the limits on creating them."""
    is_documented: bool = True
    """Stands in the OpenAPI document."""
    is_vital: bool = False
    """Is answered however often it is asked for: a supervisor asks, or LiveKit tells what has happened."""

    @property
    def summary(self) -> str:
        """The first line of the handler's docstring."""
        return self.says.partition("\n")[0]

    @property
    def says(self) -> str:
        """The handler's docstring."""
        return inspect.getdoc(self.handler) or ""


OPERATIONS_BY_HANDLER: web.AppKey[Mapping[Any, Operation]] = web.AppKey("OPERATIONS_BY_HANDLER")
"""Every operation, by its handler."""


def operation_of(request: web.Request) -> Operation | None:
    """The operation that the request asks for; None for an unknown path or method."""
    return request.app[OPERATIONS_BY_HANDLER].get(request.match_info.handler)
