"""The models of problem responses: RFC 9457's members and our extension members.

problems.py maps errors to problems.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, ConfigDict

from http_api.errors import Invalid, NoToken, NotReady, RoomUnavailable, SessionOver
from http_api.models.responses import RequiredServiceView
from manager_agent.registry.services import NotAvailable
from manager_agent.session.session import EndReason, SessionState


class Problem(BaseModel):
    """Why a request failed (RFC 9457, `application/problem+json`)."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    type: str
    """The problem type: a stable URI for programs to compare."""
    title: str
    """The same for every problem of this type."""
    status: int
    """The HTTP status code."""
    detail: str
    """A human-readable explanation of this occurrence."""
    instance: str
    """The path of the request."""
    request_id: str
    """The `X-Request-Id` of the response, which is also in the server's log."""

    @staticmethod
    def members(_error: Any, /) -> dict[str, Any]:
        """The extension members for this error."""
        return {}


class BadField(BaseModel):
    """One invalid field."""

    model_config = ConfigDict(defer_build=True)

    field: str
    """The path of the field, such as `required_services[0].type`; `(body)` for the body as a whole."""
    detail: str


class FieldsProblem(Problem):
    """The body or the query is invalid. Lists the invalid fields."""

    errors: list[BadField]
    """The invalid fields, at most 20."""
    more_errors: int
    """The number of invalid fields that are not listed."""

    @staticmethod
    def members(error: Invalid, /) -> dict[str, Any]:
        return {"errors": [asdict(field) for field in error.fields], "more_errors": error.more}


class SessionStateProblem(Problem):
    """The session's state does not allow the request."""

    session_id: str
    state: SessionState
    reason: EndReason | None

    @staticmethod
    def members(error: SessionOver | NoToken, /) -> dict[str, Any]:
        return {"session_id": error.session_id, "state": error.state, "reason": error.reason}


class SessionServicesProblem(Problem):
    """The session did not become ready. Lists every required service with its reason."""

    session_id: str
    reason: EndReason | None
    services: list[RequiredServiceView]

    @staticmethod
    def members(error: NotReady | RoomUnavailable, /) -> dict[str, Any]:
        return {"session_id": error.session_id, "reason": error.reason, "services": error.services}


class ServicesProblem(Problem):
    """The session was refused. Lists every required service, with a reason for each that is not available."""

    services: list[RequiredServiceView]

    @staticmethod
    def members(error: NotAvailable, /) -> dict[str, Any]:
        reasons = {id(unmet.requirement): unmet.reason for unmet in error.unmet}
        views = (RequiredServiceView.of_requirement(asked, reasons.get(id(asked))) for asked in error.requirements)
        return {"services": [view.model_dump(mode="json") for view in views]}
