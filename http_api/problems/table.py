"""What each error of this API, and of aiohttp, is to the caller: one table.

`type` is `urn:problem-type:session-manager:<slug>`: stable, and it promises no page behind it (the form that
the Belgian government's REST guide gives to problem types without a page).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

from http_api import errors
from http_api.problems.models import FieldsProblem, Problem, SessionServicesProblem, SessionStateProblem
from http_api.protocol.bodies import BODY_MAX

TYPE = "urn:problem-type:session-manager:"


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


API_ERRORS: Mapping[type[BaseException], Row] = {
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
    errors.Forbidden: Row(HTTPStatus.FORBIDDEN, "forbidden", "Not allowed"),
    errors.SlowBody: Row(HTTPStatus.REQUEST_TIMEOUT, "slow_body", "The body takes too long"),
    errors.OtherCaller: Row(HTTPStatus.CONFLICT, "other_caller", "Another caller registered it"),
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
    errors.RateLimited: Row(HTTPStatus.TOO_MANY_REQUESTS, "rate_limited", "Too many requests"),
    errors.TooManySessions: Row(HTTPStatus.TOO_MANY_REQUESTS, "too_many_sessions", "Too many sessions at once"),
    errors.TooManyStreams: Row(HTTPStatus.TOO_MANY_REQUESTS, "too_many_streams", "Too many streams at once"),
    errors.RoomUnavailable: Row(
        HTTPStatus.SERVICE_UNAVAILABLE, "room_unavailable", "LiveKit is not available", SessionServicesProblem
    ),
    errors.Overloaded: Row(HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", "Too much is under way"),
    errors.KeysUnavailable: Row(HTTPStatus.SERVICE_UNAVAILABLE, "keys_unavailable", "Nobody can be identified"),
    errors.Unready: Row(HTTPStatus.SERVICE_UNAVAILABLE, "unready", "Not ready to serve"),
    errors.NotReady: Row(HTTPStatus.GATEWAY_TIMEOUT, "not_ready", "Not ready in time", SessionServicesProblem),
}  # fmt: skip

UNEXPECTED = Row(
    HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", "An error of this server",
    detail="It was logged under this request_id.",
)  # fmt: skip
"""An error that no table knows."""
