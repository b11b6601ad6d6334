"""Turn every error, from any layer, into problem+json (RFC 9457). table.py has this API's own errors."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from http import HTTPStatus

import structlog
from aiohttp import web

from http_api import errors
from http_api.app_keys import ACTING, RECOVERY
from http_api.problems.models import ServicesProblem
from http_api.problems.table import API_ERRORS, TYPE, UNEXPECTED, Row
from http_api.protocol import server_timing
from http_api.request_context import PROBLEM, REQUEST_ID, UNMET
from manager_agent.control.probe import ProbeFailed
from manager_agent.livekit.calls import LiveKitRejects, LiveKitUnavailable
from manager_agent.livekit.tokens import InvalidToken, TokenTooLong
from manager_agent.livekit.webhooks import UnreadableWebhook, UnsignedWebhook
from manager_agent.not_acting import NotActing
from manager_agent.redis.connection import RedisAway
from manager_agent.registry.services import NotAvailable, OtherInstance, StaticService, UnknownService
from manager_agent.session.specification import SpecificationTooLong
from manager_agent.store.recording import NotRecorded
from manager_agent.store.store import RoomNameTaken, UnknownSession
from manager_agent.ulids import new_ulid

log = structlog.get_logger()

CONTENT_TYPE = "application/problem+json"
REQUEST_ID_HEADER = "X-Request-Id"

TABLE: Mapping[type[BaseException], Row] = {
    InvalidToken: API_ERRORS[errors.Unauthorized],
    TokenTooLong: Row(HTTPStatus.UNPROCESSABLE_ENTITY, "token_too_long", "Join token too long"),
    SpecificationTooLong: Row(HTTPStatus.UNPROCESSABLE_ENTITY, "session_too_long", "Session too long"),
    UnsignedWebhook: API_ERRORS[errors.Unauthorized],
    UnreadableWebhook: API_ERRORS[errors.MalformedBody],
    UnknownSession: Row(HTTPStatus.NOT_FOUND, "unknown_session", "Unknown session"),
    UnknownService: Row(HTTPStatus.NOT_FOUND, "unknown_service", "Unknown service"),
    RoomNameTaken: Row(HTTPStatus.CONFLICT, "room_name_taken", "Room name taken"),
    OtherInstance: Row(HTTPStatus.CONFLICT, "other_instance", "Another instance is registered"),
    StaticService: Row(HTTPStatus.CONFLICT, "static_service", "Static service"),
    NotAvailable: Row(
        HTTPStatus.FAILED_DEPENDENCY, "service_not_available", "Required service not available", ServicesProblem
    ),
    LiveKitUnavailable: Row(
        HTTPStatus.SERVICE_UNAVAILABLE, "room_unavailable", "LiveKit unavailable",
        detail="LiveKit could not be reached or could not serve the request",
    ),
    LiveKitRejects: Row(HTTPStatus.SERVICE_UNAVAILABLE, "room_unavailable", "LiveKit unavailable"),
    NotActing: Row(HTTPStatus.SERVICE_UNAVAILABLE, "not_acting", "Another process acts"),
    RedisAway: Row(
        HTTPStatus.SERVICE_UNAVAILABLE, "redis_unavailable", "Redis unavailable",
        detail="Redis, in which the replicas keep the sessions, could not serve the request in time",
    ),
    NotRecorded: Row(HTTPStatus.SERVICE_UNAVAILABLE, "room_unavailable", "LiveKit unavailable"),
    ProbeFailed: Row(HTTPStatus.SERVICE_UNAVAILABLE, "unhealthy", "Deep health check failed"),
    **API_ERRORS,
}  # fmt: skip
"""The problem for each class of errors. A subclass uses the entry of its nearest parent."""


def row_for(error: BaseException) -> Row:
    """The row for an error; UNEXPECTED when it is not in the table."""
    return row_of(type(error))


def row_of(kind: type[BaseException]) -> Row:
    """The row for a class of errors; UNEXPECTED when it is not in the table."""
    return next((TABLE[parent] for parent in kind.__mro__ if parent in TABLE), UNEXPECTED)


def problem(error: BaseException, *, path: str, request_id: str) -> web.Response:
    """The problem response for an error."""
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


def answer_unless_cut_off(request: web.Request, error: Exception) -> web.Response:
    """The problem response for an error of a handler, or aiohttp's own. Raises the error if no problem can be, or need
    be, sent."""
    if isinstance(error, web.HTTPException):
        if error.status < HTTPStatus.BAD_REQUEST:
            raise error
        if request.method == "OPTIONS" and isinstance(error, web.HTTPMethodNotAllowed):
            return web.Response(status=HTTPStatus.NO_CONTENT, headers={"Allow": error.headers["Allow"]})
    elif request.transport is None or request.transport.is_closing():
        raise error  # the client has disconnected: reading from it failed
    answer = answer_for(request, error)
    if request.writer.output_size > 0:
        raise error  # the response has started and can only be aborted
    return answer


def answer_for(request: web.Request, error: Exception) -> web.Response:
    """The problem response for an error of a handler. Log the error if it is unexpected."""
    if isinstance(error, UnknownSession) and request.app[ACTING].is_superseded:
        error = NotActing(request.app[ACTING].why_not)
    elif isinstance(error, UnknownSession) and request.app[RECOVERY].may_find_session(error.session_id):
        error = errors.Recovering()
    if row_for(error) is UNEXPECTED:
        log.exception("request_failed", method=request.method, path=request.path, exc_info=error)
    return answer_to(request, error)


def answer_to(request: web.BaseRequest, error: BaseException) -> web.Response:
    """The problem response for an error of this request. Record the problem's slug on the request, for the access log
    and the metrics."""
    request[PROBLEM] = row_for(error).slug
    if isinstance(error, NotAvailable):
        request[UNMET] = error.unmet
    request_id = request.setdefault(REQUEST_ID, new_request_id())
    answer = problem(error, path=request.rel_url.raw_path, request_id=request_id)
    # A malformed request never reaches the application, which would set this header.
    answer.headers[REQUEST_ID_HEADER] = request_id
    return answer


def new_request_id() -> str:
    return f"req_{new_ulid(time.time())}"


def _headers(error: BaseException, status: HTTPStatus) -> dict[str, str]:
    headers = {"Cache-Control": "no-store"}
    if isinstance(error, web.HTTPMethodNotAllowed):
        headers["Allow"] = error.headers["Allow"]
    challenge = getattr(error, "challenge", errors.NotBelieved.challenge if status == HTTPStatus.UNAUTHORIZED else None)
    if challenge is not None:
        headers["WWW-Authenticate"] = challenge
    if isinstance(error, errors.UnsupportedEncoding):
        headers["Accept-Encoding"] = "identity"
    if isinstance(error, errors.NotReady):
        headers[server_timing.HEADER] = error.server_timing
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(retry_after)))
    return headers
