"""What can be wrong with a request, or come of it, as far as the HTTP API itself is concerned.

The message of each is meant for the caller. problems.py says which status each one is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from http_api.access.principals import Scope
from http_api.limits.gcra import Allowance
from http_api.protocol.server_timing import server_timing
from manager_agent.session.session import RequiredService, Session


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

    def __init__(self, *scopes: Scope) -> None:
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
    def __init__(self, allowance: Allowance) -> None:
        rate = allowance.rate
        super().__init__(f"at most {rate.per_second:g} requests a second, and {rate.burst} at once")
        self.retry_after = allowance.retry_after


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
    def __init__(self, session: Session) -> None:
        super().__init__(f"a token may be had when the session is ready or active; it is {session.state}")
        self.session = session


class IdentityTaken(Exception):
    def __init__(self, identity: str) -> None:
        super().__init__(f"{identity!r} is the session's own user, or one of its services")


class SessionOver(Exception):
    def __init__(self, session: Session) -> None:
        super().__init__(f"the session is over: {session.end.reason if session.end else session.state}")
        self.session = session


class ServiceOut(Exception):
    """A service says that it is ready, but it has left, or has failed: only another attempt can be."""

    def __init__(self, service: RequiredService) -> None:
        super().__init__(f"{service.service_id!r} is {service.state} in this session and can't become ready any more")


class NotReady(Exception):
    """The services of a session did not get ready, or did not stay so, in time."""

    def __init__(self, session: Session) -> None:
        missing = [
            f"{s.service_id}: {session.reason_of(s)}"
            for s in session.services
            if session.reason_of(s) and not s.optional
        ]
        super().__init__("not ready in time: " + (", ".join(missing) or "the room's services"))
        self.session = session

    @property
    def server_timing(self) -> str:
        """Where the time went, see server_timing.py."""
        return server_timing(self.session, self.session.state_since)


class RoomUnavailable(Exception):
    """LiveKit did not make the room, or sent no manager into it."""

    retry_after = 2.0

    def __init__(self, session: Session) -> None:
        super().__init__("LiveKit can't serve this session at the moment")
        self.session = session


class Overloaded(Exception):
    """Too much is under way already."""

    retry_after = 1.0


class Unready(Exception):
    """This process can't take sessions now."""

    retry_after = 2.0
