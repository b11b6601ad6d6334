"""The problem for each error of this API and of aiohttp: one table.

`type` is `urn:problem-type:session-manager:<slug>`: stable, and without a page behind it (the form that the Belgian
government's REST guide recommends for problem types without a page).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

from http_api import errors
from http_api.problems.models import FieldsProblem, Problem, SessionServicesProblem, SessionStateProblem

TYPE = "urn:problem-type:session-manager:"


@dataclass(frozen=True, slots=True)
class Row:
    """The problem for one class of errors."""

    status: HTTPStatus
    slug: str
    title: str
    shape: type[Problem] = Problem
    """The model of the response body."""
    detail: str | None = None
    """Replaces the error's own message where that is not meant for the caller."""


API_ERRORS: Mapping[type[BaseException], Row] = {
    web.HTTPNotFound: Row(HTTPStatus.NOT_FOUND, "not_found", "Unknown path", detail="no resource at this path"),
    web.HTTPMethodNotAllowed: Row(
        HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed", detail="see the Allow header"
    ),
    web.HTTPExpectationFailed: Row(
        HTTPStatus.EXPECTATION_FAILED, "expectation_failed", "Unsupported expectation",
        detail="only 100-continue is supported",
    ),
    errors.MalformedRequest: Row(HTTPStatus.BAD_REQUEST, "malformed_request", "Malformed request"),
    errors.MalformedBody: Row(HTTPStatus.BAD_REQUEST, "malformed_body", "Malformed body"),
    web.RequestPayloadError: Row(
        HTTPStatus.BAD_REQUEST, "malformed_body", "Malformed body",
        detail="the body does not match its Content-Length or encoding",
    ),
    errors.Unauthorized: Row(HTTPStatus.UNAUTHORIZED, "unauthorized", "Unauthorized"),
    errors.Forbidden: Row(HTTPStatus.FORBIDDEN, "forbidden", "Forbidden"),
    errors.BodyTooLarge: Row(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", "Body too large"),
    errors.SlowHeaders: Row(HTTPStatus.REQUEST_TIMEOUT, "slow_headers", "Headers not received in time"),
    errors.HeaderTooLarge: Row(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "header_too_large", "Header too large"
    ),
    errors.UriTooLong: Row(HTTPStatus.REQUEST_URI_TOO_LONG, "uri_too_long", "Path or query too long"),
    errors.Misdirected: Row(HTTPStatus.MISDIRECTED_REQUEST, "misdirected", "Not a loopback host"),
    errors.CrossSite: Row(HTTPStatus.FORBIDDEN, "cross_site", "Page of another origin"),
    errors.SlowBody: Row(HTTPStatus.REQUEST_TIMEOUT, "slow_body", "Body not received in time"),
    errors.OtherCaller: Row(HTTPStatus.CONFLICT, "other_caller", "Registered by another caller"),
    errors.IdempotencyConflict: Row(HTTPStatus.CONFLICT, "idempotency_conflict", "Request in progress"),
    errors.NoToken: Row(HTTPStatus.CONFLICT, "no_token", "No token in this state", SessionStateProblem),
    errors.IdentityTaken: Row(HTTPStatus.CONFLICT, "identity_taken", "Identity taken"),
    errors.NoReplicas: Row(HTTPStatus.CONFLICT, "no_replicas", "Not one of several replicas"),
    errors.SessionOver: Row(HTTPStatus.CONFLICT, "session_over", "Session over", SessionStateProblem),
    errors.ServiceOut: Row(HTTPStatus.CONFLICT, "service_out", "Service has left or failed"),
    errors.UnsupportedBody: Row(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "Unsupported body"),
    errors.Invalid: Row(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", "Invalid request", FieldsProblem),
    errors.IdempotencyKeyReused: Row(
        HTTPStatus.UNPROCESSABLE_ENTITY, "idempotency_key_reused", "Idempotency key reused for another request"
    ),
    errors.RateLimited: Row(HTTPStatus.TOO_MANY_REQUESTS, "rate_limited", "Too many requests"),
    errors.TooManySessions: Row(HTTPStatus.TOO_MANY_REQUESTS, "too_many_sessions", "Too many concurrent sessions"),
    errors.TooManyRoomNames: Row(HTTPStatus.TOO_MANY_REQUESTS, "too_many_room_names", "Too many reserved room names"),
    errors.TooManyServices: Row(HTTPStatus.TOO_MANY_REQUESTS, "too_many_services", "Too many registered services"),
    errors.TooManyStreams: Row(HTTPStatus.TOO_MANY_REQUESTS, "too_many_streams", "Too many concurrent streams"),
    errors.RoomUnavailable: Row(
        HTTPStatus.SERVICE_UNAVAILABLE, "room_unavailable", "LiveKit unavailable", SessionServicesProblem
    ),
    errors.Overloaded: Row(HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", "Server overloaded"),
    errors.KeysUnavailable: Row(HTTPStatus.SERVICE_UNAVAILABLE, "keys_unavailable", "Issuer keys unavailable"),
    errors.Unready: Row(HTTPStatus.SERVICE_UNAVAILABLE, "unready", "Not ready to serve"),
    errors.NotReady: Row(HTTPStatus.GATEWAY_TIMEOUT, "not_ready", "Not ready in time", SessionServicesProblem),
}  # fmt: skip

UNEXPECTED = Row(
    HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", "Internal server error",
    detail="the error is in the server's log under this request_id",
)  # fmt: skip
"""The problem for an error that is in no table."""
