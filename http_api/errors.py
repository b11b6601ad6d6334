"""The exceptions of the HTTP API. Each carries plain values only; its message is meant for the caller.

problems.py says which status each one is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class MalformedBody(Exception):
    """The body is not the JSON that this API reads."""


class MalformedRequest(Exception):
    """What came in is not HTTP."""


class SlowBody(Exception):
    """The body takes too long to arrive."""


class UnsupportedBody(Exception):
    def __init__(self, content_type: str) -> None:
        theirs = content_type[:80] or "something unnamed"
        super().__init__(f"send the body as application/json in UTF-8, not as {theirs}")


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing that is wrong; `field` is its path, such as `required_services[0].type`."""

    field: str
    detail: str


class Invalid(Exception):
    """Body or query do not fit. Names every bad field."""

    def __init__(self, fields: Sequence[FieldError]) -> None:
        super().__init__(f"{len(fields)} {'field is' if len(fields) == 1 else 'fields are'} wrong")
        self.fields = tuple(fields)


class Unauthorized(Exception):
    """Nobody has said, in a way that can be believed, who is asking."""

    challenge = "Bearer"
    """For WWW-Authenticate (RFC 6750)."""


class NotBelieved(Unauthorized):
    """Something was sent as a proof, and is none."""

    challenge = 'Bearer error="invalid_token"'


class KeysUnavailable(Exception):
    """The keys of the callers' own issuer were never had: nobody can say whether a JWT is one of its."""

    retry_after = 5.0

    def __init__(self) -> None:
        super().__init__("the keys of the issuer (JWKS_URL) can't be had at the moment")


class Forbidden(Exception):
    """Who is asking may not do this."""


class MissingScope(Forbidden):
    """Who is asking may do other things, but not this."""

    def __init__(self, *scopes: str) -> None:
        super().__init__(f"this takes the scope {' or '.join(scopes)}")
        self.challenge = f'Bearer error="insufficient_scope", scope="{" ".join(scopes)}"'


class OtherCaller(Exception):
    """Another caller registered this service: only he, or an administrator, speaks for it."""

    def __init__(self, service_id: str) -> None:
        super().__init__(f"{service_id!r} is registered by another caller")


class IdempotencyKeyReused(Exception):
    def __init__(self) -> None:
        super().__init__("the Idempotency-Key was sent before with another body; a new request takes a new key")


class IdempotencyConflict(Exception):
    retry_after = 1.0

    def __init__(self) -> None:
        super().__init__("a request with this Idempotency-Key is being answered")


class RateLimited(Exception):
    def __init__(self, per_second: float, burst: int, retry_after: float) -> None:
        super().__init__(f"at most {per_second:g} requests a second, and {burst} at once")
        self.retry_after = retry_after


class TooManySessions(Exception):
    """Sooner or later one of them ends: nobody knows when."""

    retry_after = 5.0

    def __init__(self, most: int) -> None:
        super().__init__(f"you have {most} sessions already, which is as many as one caller may have")


class TooManyStreams(Exception):
    """Sooner or later one of them ends: nobody knows when."""

    retry_after = 5.0

    def __init__(self, most: int) -> None:
        super().__init__(f"you follow {most} streams of events already, which is as many as one caller may")


class NoToken(Exception):
    def __init__(self, session_id: str, state: str, reason: str | None) -> None:
        super().__init__(f"a token may be had when the session is ready or active; it is {state}")
        self.session_id, self.state, self.reason = session_id, state, reason


class IdentityTaken(Exception):
    def __init__(self, identity: str) -> None:
        super().__init__(f"{identity!r} is the session's own user, or one of its services")


class SessionOver(Exception):
    def __init__(self, session_id: str, state: str, reason: str | None) -> None:
        super().__init__(f"the session is over: {reason or state}")
        self.session_id, self.state, self.reason = session_id, state, reason


class ServiceOut(Exception):
    """A service that has left or failed says that it is ready: only another attempt can be."""

    def __init__(self, service_id: str | None, state: str) -> None:
        super().__init__(f"{service_id!r} is {state} in this session and can't become ready any more")


class NotReady(Exception):
    """The services of a session did not get ready, or did not stay so, in time."""

    def __init__(
        self, session_id: str, reason: str | None, services: Sequence[Mapping[str, Any]], server_timing: str
    ) -> None:
        """`services`: the JSON of each, as in the session. `server_timing`: the value of the header, which says where
        the time went."""
        missing = [f"{s['service_id']}: {s['reason']}" for s in services if s["reason"] and not s["optional"]]
        super().__init__("not ready in time: " + (", ".join(missing) or "the room's services"))
        self.session_id, self.reason, self.services, self.server_timing = session_id, reason, services, server_timing


class RoomUnavailable(Exception):
    """LiveKit did not make the room, or sent no manager into it."""

    retry_after = 2.0

    def __init__(self, session_id: str, reason: str | None, services: Sequence[Mapping[str, Any]]) -> None:
        """`services`: the JSON of each, as in the session."""
        super().__init__("LiveKit can't serve this session at the moment")
        self.session_id, self.reason, self.services = session_id, reason, services


class Overloaded(Exception):
    """Too much is under way already."""

    retry_after = 1.0


class Unready(Exception):
    """This process can't take sessions now."""

    retry_after = 2.0
