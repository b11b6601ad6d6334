"""The errors of the client."""

from __future__ import annotations

from http import HTTPStatus
from typing import NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from session_manager_client.models import RequiredServiceInfo, SessionInfo

TYPE = "urn:problem-type:session-manager:"
TEXT_SHOWN = 200
NOT_READY = (504, "not_ready", "Not ready in time")
ROOM_UNAVAILABLE = (503, "room_unavailable", "LiveKit unavailable")
SESSION_OVER = (409, "session_over", "Session over")
PROBLEM_OF_REASON = {
    "ready_timeout": NOT_READY,
    "service_lost": NOT_READY,
    "room_unavailable": ROOM_UNAVAILABLE,
}
"""The status, slug and title of the problem for the reason why a session ended; for others it is SESSION_OVER."""


class InvalidField(NamedTuple):
    """One invalid field of a request."""

    field: str
    """Its path, such as `required_services[0].type`."""
    detail: str


class Unreachable(Exception):
    """There was no usable response from a session manager. The message says from which URL, and why."""


class ApiError(Exception):
    """The session manager answered with an error. The message is readable and contains no secrets."""

    def __init__(
        self,
        status: int,
        *,
        title: str,
        slug: str = "",
        detail: str = "",
        request_id: str | None = None,
        errors: tuple[InvalidField, ...] = (),
        services: tuple[RequiredServiceInfo, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        self.status, self.slug, self.title, self.detail = status, slug, title, detail
        self.request_id = request_id
        """The request's id in the server's logs."""
        self.errors = errors
        """The invalid fields, if the request was invalid."""
        self.services = services
        """The state of the required services, if the problem is about them."""
        self.retry_after = retry_after
        """Seconds after which a retry may succeed."""
        super().__init__(self._message())

    def __repr__(self) -> str:
        return f"<ApiError {self.status} {self.slug}: {self}>"

    @classmethod
    def of_answer(cls, status: int, raw: bytes, *, retry_after: float | None = None) -> Self:
        """The problem in the body of a response. Without one, the error has only the status."""
        try:
            problem = _Body.model_validate_json(raw)
        except ValidationError:
            return cls(status, title=_phrase(status), retry_after=retry_after)
        return cls(
            status,
            title=problem.title or _phrase(status),
            slug=problem.type.removeprefix(TYPE) if problem.type.startswith(TYPE) else "",
            detail=problem.detail,
            request_id=problem.request_id,
            errors=tuple(InvalidField(wrong.field, wrong.detail) for wrong in problem.errors),
            services=tuple(problem.services),
            retry_after=retry_after,
        )

    @classmethod
    def of_session(cls, session: SessionInfo) -> Self:
        """The error that the server answers with when a session ends while a request waits for it."""
        status, slug, title = PROBLEM_OF_REASON.get(session.reason or "", SESSION_OVER)
        unready = [service for service in session.services if service.reason and not service.optional]
        missing = [f"{s.service_id or s.type}: {s.reason}" + (f" ({s.detail})" if s.detail else "") for s in unready]
        detail = f"{session.session_id} {session.state}: {', '.join([str(session.reason), *missing])}"
        return cls(status, title=title, slug=slug, detail=detail, services=tuple(session.services))

    def _message(self) -> str:
        fields = [f"{wrong.field}: {wrong.detail}" for wrong in self.errors]
        details = "; ".join(filter(None, [self.detail, *fields]))
        known = ", ".join(filter(None, [str(self.status), self.slug, self.request_id]))
        return f"{self.title}{f': {details}' if details else ''} ({known})"


class _BadField(BaseModel):
    field: str
    detail: str


class _Body(BaseModel):
    """application/problem+json as far as it is used here. Every member may be missing, and others are ignored."""

    model_config = ConfigDict(extra="ignore")

    type: str = ""
    title: str = Field("", max_length=TEXT_SHOWN)
    detail: str = ""
    request_id: str | None = None
    errors: list[_BadField] = []
    services: list[RequiredServiceInfo] = []


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown status"
