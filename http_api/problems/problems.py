"""Every error as problem+json (RFC 9457), whichever layer it comes from, by one table.

`type` is `urn:problem-type:session-manager:<slug>`: stable, and it promises no page behind it (the form that
the Belgian government's REST guide gives to problem types without a page).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from ulid import ULID

from http_api import errors
from http_api.problems.models import (
    FieldsProblem,
    Problem,
    ServicesProblem,
    SessionServicesProblem,
    SessionStateProblem,
)
from http_api.protocol import server_timing
from http_api.protocol.bodies import BODY_MAX
from http_api.request_context import PROBLEM, REQUEST_ID, UNMET
from manager_agent.control.probe import ProbeFailed
from manager_agent.livekit.server_api import LiveKitUnavailable
from manager_agent.livekit.tokens import InvalidToken
from manager_agent.registry.services import NotAvailable, OtherInstance, StaticService, UnknownService
from manager_agent.store.store import RoomNameTaken, UnknownSession

log = structlog.get_logger()

TYPE = "urn:problem-type:session-manager:"
CONTENT_TYPE = "application/problem+json"
REQUEST_ID_HEADER = "X-Request-Id"


@dataclass(frozen=True, slots=True)
class Row:
    """What an error is to the caller."""

    status: HTTPStatus
    slug: str
    title: str
    shape: type[Problem] = Problem
    """What the problem carries."""
    detail: str | None = None
    """Said instead of the error's own message, where that is not for the caller."""


TABLE: Mapping[type[BaseException], Row] = {
    web.HTTPNotFound: Row(HTTPStatus.NOT_FOUND, "not_found", "No such path", detail="nothing is served here"),
    web.HTTPMethodNotAllowed: Row(
        HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed", "Not by this method", detail="see the Allow header"
    ),
    web.HTTPRequestEntityTooLarge: Row(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", "The body is too large",
        detail=f"at most {BODY_MAX} bytes are read",
    ),
    web.HTTPExpectationFailed: Row(
        HTTPStatus.EXPECTATION_FAILED, "expectation_failed", "Unknown expectation", detail="only 100-continue is known"
    ),
    errors.MalformedRequest: Row(HTTPStatus.BAD_REQUEST, "malformed_request", "The request can't be read"),
    errors.MalformedBody: Row(HTTPStatus.BAD_REQUEST, "malformed_body", "The body can't be read"),
    web.RequestPayloadError: Row(
        HTTPStatus.BAD_REQUEST, "malformed_body", "The body can't be read", detail="it does not arrive as announced"
    ),
    errors.Unauthorized: Row(HTTPStatus.UNAUTHORIZED, "unauthorized", "Not authorized"),
    InvalidToken: Row(HTTPStatus.UNAUTHORIZED, "unauthorized", "Not authorized"),
    errors.Forbidden: Row(HTTPStatus.FORBIDDEN, "forbidden", "Not allowed"),
    UnknownSession: Row(HTTPStatus.NOT_FOUND, "unknown_session", "No such session"),
    UnknownService: Row(HTTPStatus.NOT_FOUND, "unknown_service", "No such service"),
    errors.SlowBody: Row(HTTPStatus.REQUEST_TIMEOUT, "slow_body", "The body takes too long"),
    RoomNameTaken: Row(HTTPStatus.CONFLICT, "room_name_taken", "The room name is taken"),
    OtherInstance: Row(HTTPStatus.CONFLICT, "other_instance", "Another instance is registered"),
    errors.OtherCaller: Row(HTTPStatus.CONFLICT, "other_caller", "Another caller registered it"),
    StaticService: Row(HTTPStatus.CONFLICT, "static_service", "The service is static"),
    errors.IdempotencyConflict: Row(HTTPStatus.CONFLICT, "idempotency_conflict", "The same request is being answered"),
    errors.NoToken: Row(HTTPStatus.CONFLICT, "no_token", "No token in this state", SessionStateProblem),
    errors.IdentityTaken: Row(HTTPStatus.CONFLICT, "identity_taken", "The identity is taken"),
    errors.SessionOver: Row(HTTPStatus.CONFLICT, "session_over", "The session is over", SessionStateProblem),
    errors.ServiceOut: Row(HTTPStatus.CONFLICT, "service_out", "The service has left or failed"),
    errors.UnsupportedBody: Row(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "Not a JSON body"),
    errors.Invalid: Row(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", "The request does not fit", FieldsProblem),
    errors.IdempotencyKeyReused: Row(
        HTTPStatus.UNPROCESSABLE_ENTITY, "idempotency_key_reused", "The key is another request's"
    ),
    NotAvailable: Row(
        HTTPStatus.FAILED_DEPENDENCY, "service_not_available", "A required service can't be invited", ServicesProblem
    ),
    errors.RateLimited: Row(HTTPStatus.TOO_MANY_REQUESTS, "rate_limited", "Too many requests"),
    errors.TooManySessions: Row(HTTPStatus.TOO_MANY_REQUESTS, "too_many_sessions", "Too many sessions at once"),
    errors.TooManyStreams: Row(HTTPStatus.TOO_MANY_REQUESTS, "too_many_streams", "Too many streams at once"),
    LiveKitUnavailable: Row(
        HTTPStatus.SERVICE_UNAVAILABLE, "room_unavailable", "LiveKit is not available",
        detail="LiveKit could not be reached or could not serve",
    ),
    errors.RoomUnavailable: Row(
        HTTPStatus.SERVICE_UNAVAILABLE, "room_unavailable", "LiveKit is not available", SessionServicesProblem
    ),
    ProbeFailed: Row(HTTPStatus.SERVICE_UNAVAILABLE, "unhealthy", "No session can be had"),
    errors.Overloaded: Row(HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", "Too much is under way"),
    errors.KeysUnavailable: Row(HTTPStatus.SERVICE_UNAVAILABLE, "keys_unavailable", "Nobody can be identified"),
    errors.Unready: Row(HTTPStatus.SERVICE_UNAVAILABLE, "unready", "Not ready to serve"),
    errors.NotReady: Row(HTTPStatus.GATEWAY_TIMEOUT, "not_ready", "Not ready in time", SessionServicesProblem),
}  # fmt: skip
"""From an error to what its caller gets. A subclass is found by its nearest parent in here."""

UNEXPECTED = Row(
    HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", "An error of this server",
    detail="It was logged under this request_id.",
)  # fmt: skip


def row_for(error: BaseException) -> Row:
    """The row of an error; UNEXPECTED for one that the table does not know."""
    return row_of(type(error))


def row_of(kind: type[BaseException]) -> Row:
    """The same, by its class."""
    return next((TABLE[parent] for parent in kind.__mro__ if parent in TABLE), UNEXPECTED)


def problem(error: BaseException, *, path: str, request_id: str) -> web.Response:
    """The answer for an error."""
    row = row_for(error)
    body = {
        "type": TYPE + row.slug,
        "title": row.title,
        "status": row.status,
        "detail": row.detail if row.detail is not None else str(error),
        "instance": path,
        "request_id": request_id,
        **row.shape.members(error),
    }
    return web.Response(
        status=row.status,
        body=json.dumps(body, separators=(",", ":")).encode(),
        content_type=CONTENT_TYPE,
        headers=_headers(error, row.status),
    )


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns what a handler raises, and what aiohttp raises itself, into problems."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < HTTPStatus.BAD_REQUEST:
            raise
        if request.method == "OPTIONS" and isinstance(error, web.HTTPMethodNotAllowed):
            return web.Response(status=HTTPStatus.NO_CONTENT, headers={"Allow": error.headers["Allow"]})
        caught: Exception = error
    except Exception as error:
        if request.transport is None or request.transport.is_closing():
            raise  # the client is gone, and what failed was reading from it
        caught = error
    answer = answer_for(request, caught)
    if request.writer.output_size > 0:
        raise caught  # an answer has begun, and can only be broken off
    return answer


def answer_for(request: web.Request, error: Exception) -> web.Response:
    """The problem for what a handler raised; what nobody foresaw is logged."""
    if row_for(error) is UNEXPECTED:
        log.exception("request_failed", method=request.method, path=request.path, exc_info=error)
    return answer_to(request, error)


def answer_to(request: web.BaseRequest, error: BaseException) -> web.Response:
    """The problem for an error of this request, which is noted for the access log and the metrics."""
    request[PROBLEM] = row_for(error).slug
    if isinstance(error, NotAvailable):
        request[UNMET] = error.unmet
    request_id = request.setdefault(REQUEST_ID, new_request_id())
    answer = problem(error, path=request.rel_url.raw_path, request_id=request_id)
    answer.headers[REQUEST_ID_HEADER] = request_id  # what is not HTTP never gets to the application, which would do it
    return answer


def new_request_id() -> str:
    return f"req_{ULID()}"


def _headers(error: BaseException, status: HTTPStatus) -> dict[str, str]:
    headers = {"Cache-Control": "no-store"}
    if isinstance(error, web.HTTPMethodNotAllowed):
        headers["Allow"] = error.headers["Allow"]
    challenge = getattr(error, "challenge", errors.NotBelieved.challenge if status == HTTPStatus.UNAUTHORIZED else None)
    if challenge is not None:
        headers["WWW-Authenticate"] = challenge
    if isinstance(error, errors.NotReady):
        headers[server_timing.HEADER] = error.server_timing
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(retry_after)))
    return headers
