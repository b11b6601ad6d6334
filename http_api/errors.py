"""The exceptions of the HTTP API. Each carries only plain values; its message is meant for the caller.

problems/ maps each to a status.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FIELDS_MAX = 20
"""The most invalid fields listed in one problem; a body can have thousands."""


class MalformedBody(Exception):
    """The body is not valid JSON, or has values that the API does not accept in any field."""


class MalformedRequest(Exception):
    """The request is not valid HTTP."""


class SlowBody(Exception):
    """The body was not received in time."""


class BodyTooLarge(Exception):
    def __init__(self, most: int) -> None:
        super().__init__(f"the body may have at most {most} bytes")


class HeaderTooLarge(Exception):
    """A header, or all of them together, is too large. `name`: the header's; None for all of them."""

    def __init__(self, name: str | None, most: int) -> None:
        what = "the headers together have" if name is None else f"the header {name} has"
        super().__init__(f"{what} more than {most} bytes")


class TooManyHeaders(HeaderTooLarge):
    def __init__(self, most: int) -> None:
        super(HeaderTooLarge, self).__init__(f"the request has more than {most} headers")


class UriTooLong(Exception):
    """The path and query of the request are too long."""

    def __init__(self, most: int) -> None:
        super().__init__(f"the path and query have more than {most} bytes")


class SlowHeaders(Exception):
    """The headers were not received in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the headers were not received within {seconds:g} seconds")


class UnsupportedBody(Exception):
    def __init__(self, content_type: str) -> None:
        received = content_type[:80] or "a body without Content-Type"
        super().__init__(f"send the body as application/json in UTF-8, not as {received}")


class UnsupportedEncoding(UnsupportedBody):
    def __init__(self, coding: str) -> None:
        super(UnsupportedBody, self).__init__(f"send the body without Content-Encoding, not as {coding[:80]}")


@dataclass(frozen=True, slots=True)
class FieldError:
    """One invalid field; `field` is its path, such as `required_services[0].type`."""

    field: str
    detail: str


class Invalid(Exception):
    """The body or the query is invalid. `fields` lists invalid fields, and there are `more` that it does not list."""

    def __init__(self, fields: Sequence[FieldError], more: int = 0) -> None:
        count = len(fields) + more
        super().__init__(f"{count} {'field is' if count == 1 else 'fields are'} invalid")
        self.fields, self.more = tuple(fields[:FIELDS_MAX]), more + max(len(fields) - FIELDS_MAX, 0)


class Unauthorized(Exception):
    """The request has no valid credentials."""

    challenge = "Bearer"
    """The value of WWW-Authenticate (RFC 6750)."""


class NotBelieved(Unauthorized):
    """The request has credentials, but they are not valid."""

    challenge = 'Bearer error="invalid_token"'


class KeysUnavailable(Exception):
    """The issuer's keys (JWKS_URL) were never fetched, so its JWTs can't be verified."""

    retry_after = 5.0

    def __init__(self) -> None:
        super().__init__("the keys of the issuer (JWKS_URL) can't be fetched at the moment")


class Forbidden(Exception):
    """The caller is not allowed to do this."""


class CrossSite(Forbidden):
    """A page of another origin sent the request, and callers need no credentials."""

    def __init__(self) -> None:
        super().__init__(
            "a page of another origin sent this request, and callers need no key here (dev mode on loopback): "
            "list the page's origin in CORS_ORIGINS"
        )


class Misdirected(Exception):
    """The Host header does not name loopback, and callers need no credentials."""

    def __init__(self) -> None:
        super().__init__(
            "callers need no key here (dev mode on loopback), so that only requests to localhost, 127.0.0.1 or [::1] "
            "are served: the Host header names another host"
        )


class MissingScope(Forbidden):
    """The caller lacks the scope for this operation."""

    def __init__(self, *scopes: str) -> None:
        super().__init__(f"requires the scope {' or '.join(scopes)}")
        self.challenge = f'Bearer error="insufficient_scope", scope="{" ".join(scopes)}"'


class OtherCaller(Exception):
    """Another caller registered this service, or this agent. Only that caller or an administrator may change it."""

    def __init__(self, name: str) -> None:
        """`name`: the service id, or the agent's name."""
        super().__init__(f"{name!r} is registered by another caller")


class IdempotencyKeyReused(Exception):
    def __init__(self) -> None:
        super().__init__("this Idempotency-Key was already used with a different body; use a new key for a new request")


class IdempotencyConflict(Exception):
    retry_after = 1.0

    def __init__(self) -> None:
        super().__init__("a request with this Idempotency-Key is in progress")


class RateLimited(Exception):
    def __init__(self, per_second: float, burst: int, retry_after: float) -> None:
        super().__init__(f"at most {per_second:g} requests per second, in bursts of up to {burst}")
        self.retry_after = retry_after


class TooManySessions(Exception):
    """The caller has as many sessions as it may have. When one of them ends is unknown: `retry_after` is a guess."""

    retry_after = 5.0

    def __init__(self, most: int) -> None:
        super().__init__(f"you already have {most} sessions, the maximum for one caller")


class TooManyRoomNames(Exception):
    """Tokens of too many sessions of the caller have not expired yet, and reserve the names of their rooms. When the
    next one expires is not looked up: `retry_after` is a guess."""

    retry_after = 60.0

    def __init__(self, most: int) -> None:
        super().__init__(f"tokens of {most} of your sessions, which reserve room names, have not expired yet")


class TooManyServices(Exception):
    """The caller has registered as many services as it may."""

    retry_after = 60.0

    def __init__(self, most: int) -> None:
        super().__init__(f"you have registered {most} services, the maximum for one caller (SERVICES_PER_CALLER)")


class TooManyStreams(Exception):
    """The caller has as many streams as it may have. When one of them ends is unknown: `retry_after` is a guess."""

    retry_after = 5.0

    def __init__(self, most: int) -> None:
        super().__init__(f"you already have {most} event streams open, the maximum for one caller")


class NoToken(Exception):
    def __init__(self, session_id: str, state: str, reason: str | None) -> None:
        super().__init__(f"tokens are issued while the session is ready or active; it is {state}")
        self.session_id, self.state, self.reason = session_id, state, reason


class IdentityTaken(Exception):
    def __init__(self, identity: str) -> None:
        super().__init__(f"{identity!r} is the identity of the session's user or of one of its services")


class SessionOver(Exception):
    def __init__(self, session_id: str, state: str, reason: str | None) -> None:
        super().__init__(f"the session is over: {reason or state}")
        self.session_id, self.state, self.reason = session_id, state, reason


class ServiceOut(Exception):
    """A service signals ready after it has left or failed: only a new attempt can become ready."""

    def __init__(self, service_id: str | None, state: str) -> None:
        super().__init__(f"{service_id!r} is {state} in this session and can no longer become ready")


class NotReady(Exception):
    """The session's required services were not all ready in time."""

    def __init__(
        self, session_id: str, reason: str | None, services: Sequence[Mapping[str, Any]], server_timing: str
    ) -> None:
        """`services`: the JSON of each, as in the session. `server_timing`: the value of the Server-Timing header."""
        unready = (s for s in services if s["reason"] and not s["optional"])
        missing = [f"{s['service_id']}: {s['reason']}" + (f" ({s['detail']})" if s["detail"] else "") for s in unready]
        super().__init__("not ready in time: " + (", ".join(missing) or "the room's services"))
        self.session_id, self.reason, self.services, self.server_timing = session_id, reason, services, server_timing


class RoomUnavailable(Exception):
    """LiveKit did not create the room, or no manager joined it."""

    def __init__(
        self,
        session_id: str,
        reason: str | None,
        services: Sequence[Mapping[str, Any]],
        *,
        rejection: str | None = None,
    ) -> None:
        """`services`: the JSON of each, as in the session. `rejection`: why LiveKit does not accept our keys; then
        another try does not help."""
        is_rejected = rejection is not None
        says = f"LiveKit rejects the session manager, so that retrying does not help: {rejection}"
        super().__init__(says if is_rejected else "LiveKit can't serve this session at the moment")
        self.retry_after = None if is_rejected else 2.0
        self.session_id, self.reason, self.services = session_id, reason, services


class Overloaded(Exception):
    """Too many requests are waiting already."""

    retry_after = 1.0


class Unready(Exception):
    """This process can't serve the request now."""

    retry_after = 2.0


class NoReplicas(Exception):
    """The process is not one of several replicas: it has no REDIS_URL."""

    def __init__(self) -> None:
        super().__init__("this process is not one of several replicas (REDIS_URL)")


class Recovering(Unready):
    """The request is about a session that may still be recovered."""

    retry_after = 1.0

    def __init__(self) -> None:
        super().__init__("the sessions of an earlier process are still being recovered")
