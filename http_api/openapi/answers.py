"""The `responses` of an operation in the OpenAPI document, problems included."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

from aiohttp import web

from http_api import errors
from http_api.access.principals import Permission
from http_api.openapi.schemas import REF, Schemas, name_of, sentence
from http_api.operations import Media, Operation, ResponseSpec
from http_api.problems.problems import CONTENT_TYPE, row_of
from http_api.problems.table import Row
from http_api.protocol import server_timing
from manager_agent.redis.connection import RedisAway

Kind = type[Exception]

OF_ALL: tuple[Kind, ...] = (
    errors.MalformedRequest,
    errors.SlowHeaders,
    errors.HeaderTooLarge,
    errors.UriTooLong,
    errors.Misdirected,
    errors.CrossSite,
    web.HTTPExpectationFailed,
    Exception,
)
OF_BODIES: tuple[Kind, ...] = (
    errors.MalformedBody,
    errors.SlowBody,
    errors.BodyTooLarge,
    errors.UnsupportedBody,
    errors.Invalid,
)
OF_KNOWN_CALLERS: tuple[Kind, ...] = (errors.Unauthorized, errors.Forbidden, errors.KeysUnavailable)
OF_KEYS: tuple[Kind, ...] = (errors.IdempotencyConflict, errors.IdempotencyKeyReused)
OF_CREATING: tuple[Kind, ...] = (errors.TooManySessions, errors.TooManyRoomNames, errors.Overloaded)
RETRIED = (HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
TIMED = (HTTPStatus.GATEWAY_TIMEOUT,)
CHALLENGED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)

HEADERS: dict[str, str] = {
    "X-Request-Id": "identifies this request in the server's log: the client's own value if it was valid",
    "RateLimit": "requests left, and seconds until the limit resets (draft-ietf-httpapi-ratelimit-headers)",
    "RateLimit-Policy": "requests allowed, and the window in seconds",
    "Retry-After": "seconds until a retry may succeed",
    server_timing.HEADER: server_timing.DESCRIPTION,
    "WWW-Authenticate": "the required credentials (RFC 6750)",
}
"""Headers of responses to many operations, listed in `components/headers`."""


def errors_of(operation: Operation) -> tuple[Kind, ...]:
    """All errors that the operation may respond with."""
    kinds = [*OF_ALL, *operation.errors]
    if operation.body is not None:
        kinds += OF_BODIES
    if operation.query is not None:
        kinds.append(errors.Invalid)
    match operation.access:
        case Permission.PUBLIC:
            pass
        case Permission.OWN_PROOF:
            kinds.append(errors.Unauthorized)
        case _:
            kinds += OF_KNOWN_CALLERS
    if operation.is_idempotent:
        kinds += OF_KEYS
    if operation.creates:
        kinds += OF_CREATING
    if not operation.is_vital:
        kinds.append(errors.RateLimited)
    if operation.reads_state:
        kinds.append(RedisAway)
    return tuple(dict.fromkeys(kinds))


def answers(operation: Operation, schemas: Schemas, links: dict[str, Any]) -> dict[str, Any]:
    """The `responses` of an operation. `links` are added to those that have a body."""
    found: dict[str, Any] = {}
    for status, answer in operation.answers.items():
        found[str(status.value)] = _answer(operation, answer, schemas)
        if links and answer.view is not None:
            found[str(status.value)]["links"] = links
    by_status: dict[HTTPStatus, dict[str, Row]] = {}
    for row in map(row_of, errors_of(operation)):
        by_status.setdefault(row.status, {})[row.slug] = row
    for status, rows in sorted(by_status.items()):
        found[str(status.value)] = _problem(operation, status, list(rows.values()))
    return found


def _answer(operation: Operation, answer: ResponseSpec, schemas: Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {
        "description": sentence(answer.description),
        "headers": {
            **{name: {"description": sentence(text), **TEXTUAL} for name, text in answer.headers.items()},
            **_shared(operation, ()),
        },
    }
    if answer.view is not None:
        schema = schemas.views[answer.view]
        is_stream = answer.media is Media.EVENTS
        described["content"] = {answer.media: {"schema": _event(schema, answer.events) if is_stream else schema}}
    elif answer.media is not Media.JSON:
        described["content"] = {answer.media: {"schema": {"type": "string"}}}
    return described


def _event(schema: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The schema of one server-sent event of the stream."""
    data = {"type": "string", "contentMediaType": Media.JSON, "contentSchema": schema}
    first = {"event": {"type": "string", "enum": [*map(str, names)]}} if names else {"id": {"type": "string"}}
    return {"type": "object", "properties": {**first, "data": data}, "required": [*first, "data"]}


def _problem(operation: Operation, status: HTTPStatus, rows: list[Row]) -> dict[str, Any]:
    schemas = [{"$ref": REF.format(model=name_of(row.slug))} for row in rows]
    by_status = (("Retry-After", RETRIED), (server_timing.HEADER, TIMED), ("WWW-Authenticate", CHALLENGED))
    more = [name for name, statuses in by_status if status in statuses]
    return {
        "description": "; ".join(f"`{row.slug}`: {row.title}" for row in rows) + ".",
        "headers": _shared(operation, more),
        "content": {CONTENT_TYPE: {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}},
    }


TEXTUAL: dict[str, Any] = {"schema": {"type": "string"}}


def _shared(operation: Operation, more: Iterable[str]) -> dict[str, Any]:
    names = ["X-Request-Id", *more]
    if not operation.is_vital:
        names += ["RateLimit", "RateLimit-Policy"]
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def header_components() -> dict[str, Any]:
    return {name: {"description": sentence(text), **TEXTUAL} for name, text in HEADERS.items()}
