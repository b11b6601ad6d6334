"""Every error as problem+json (RFC 9457), whichever layer it comes from, by one table.

`type` is `urn:problem-type:session-manager:<slug>`: stable, and it promises no page behind it (the form that
the Belgian government's REST guide gives to problem types without a page).
"""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any

import structlog
from aiohttp import web
from ulid import ULID

from http_api import errors
from http_api.bodies import BODY_MAX
from http_api.keys import PROBLEM, REQUEST_ID
from http_api.views import RequiredServiceView
from manager_agent.probe import ProbeFailed
from manager_agent.rooms import InvalidToken, LiveKitUnavailable
from manager_agent.services import NotAvailable, OtherInstance, StaticService, UnknownService
from manager_agent.store import RoomNameTaken, UnknownSession

log = structlog.get_logger()

TYPE = "urn:problem-type:session-manager:"
CONTENT_TYPE = "application/problem+json"
FIELDS_MAX = 100
"""So many bad fields are listed; a body can hold thousands."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Row:
    """What an error is to the caller."""

    status: HTTPStatus
    slug: str
    title: str
    members: Callable[[Any], dict[str, Any]] = lambda _error: {}
    """What the problem carries beyond RFC 9457's own members."""
    detail: str | None = None
    """Said instead of the error's own message, where that is not for the caller."""


def _session(error: errors.SessionOver | errors.NoToken) -> dict[str, Any]:
    session = error.session
    return {"session_id": session.session_id, "state": session.state, "reason": session.end and session.end.reason}


def _not_ready(error: errors.NotReady | errors.RoomUnavailable) -> dict[str, Any]:
    session = error.session
    views = (RequiredServiceView.of(session, service) for service in session.services)
    return {
        "session_id": session.session_id,
        "reason": session.end and session.end.reason,
        "services": [view.model_dump(mode="json") for view in views],
    }


def _not_available(error: NotAvailable) -> dict[str, Any]:
    reasons = {id(unmet.requirement): unmet.reason for unmet in error.unmet}
    views = (RequiredServiceView.of_requirement(asked, reasons.get(id(asked))) for asked in error.requirements)
    return {"services": [view.model_dump(mode="json") for view in views]}


def _fields(error: errors.Invalid) -> dict[str, Any]:
    return {"errors": [asdict(field) for field in error.fields[:FIELDS_MAX]]}


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
    StaticService: Row(HTTPStatus.CONFLICT, "static_service", "The service is static"),
    errors.NoToken: Row(HTTPStatus.CONFLICT, "no_token", "No token in this state", _session),
    errors.SessionOver: Row(HTTPStatus.CONFLICT, "session_over", "The session is over", _session),
    errors.ServiceOut: Row(HTTPStatus.CONFLICT, "service_out", "The service has left or failed"),
    errors.UnsupportedBody: Row(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "Not a JSON body"),
    errors.Invalid: Row(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", "The request does not fit", _fields),
    NotAvailable: Row(
        HTTPStatus.FAILED_DEPENDENCY, "service_not_available", "A required service can't be invited", _not_available
    ),
    LiveKitUnavailable: Row(
        HTTPStatus.SERVICE_UNAVAILABLE, "room_unavailable", "LiveKit is not available",
        detail="LiveKit could not be reached or could not serve",
    ),
    errors.RoomUnavailable: Row(
        HTTPStatus.SERVICE_UNAVAILABLE, "room_unavailable", "LiveKit is not available", _not_ready
    ),
    ProbeFailed: Row(HTTPStatus.SERVICE_UNAVAILABLE, "unhealthy", "No session can be had"),
    errors.Unready: Row(HTTPStatus.SERVICE_UNAVAILABLE, "unready", "Not ready to serve"),
    errors.NotReady: Row(HTTPStatus.GATEWAY_TIMEOUT, "not_ready", "Not ready in time", _not_ready),
}  # fmt: skip
"""From an error to what its caller gets. A subclass is found by its nearest parent in here."""

UNEXPECTED = Row(
    HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", "An error of this server",
    detail="It was logged under this request_id.",
)  # fmt: skip


def row_for(error: BaseException) -> Row:
    """The row of an error; UNEXPECTED for one that the table does not know."""
    return next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), UNEXPECTED)


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
        **row.members(error),
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
    if row_for(caught) is UNEXPECTED:
        log.exception("request_failed", method=request.method, path=request.path, exc_info=caught)
    return answer_to(request, caught)


def answer_to(request: web.BaseRequest, error: BaseException) -> web.Response:
    """The problem for an error of this request, which is noted for the access log."""
    request[PROBLEM] = row_for(error).slug
    request_id = request.setdefault(REQUEST_ID, new_request_id())
    return problem(error, path=request.rel_url.raw_path, request_id=request_id)


def new_request_id() -> str:
    return f"req_{ULID()}"


def _headers(error: BaseException, status: HTTPStatus) -> dict[str, str]:
    headers = {"Cache-Control": "no-store"}
    if isinstance(error, web.HTTPMethodNotAllowed):
        headers["Allow"] = error.headers["Allow"]
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(retry_after)))
    return headers
