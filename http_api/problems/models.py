"""What problems look like to their readers: RFC 9457's members, and what some of them carry beyond those.

problems.py says which error is which problem.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, ConfigDict

from http_api.errors import Invalid, NoToken, NotReady, RoomUnavailable, SessionOver
from http_api.models.responses import RequiredServiceView
from manager_agent.registry.services import NotAvailable
from manager_agent.session.session import EndReason, SessionState

FIELDS_MAX = 100
"""So many bad fields are listed; a body can hold thousands."""


class Problem(BaseModel):
    """Why a request was not done (RFC 9457, `application/problem+json`)."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    type: str
    """Which problem it is: stable, and what a program should look at."""
    title: str
    """The same for every problem of this type."""
    status: int
    """The status of the answer."""
    detail: str
    """What is wrong this time, for people."""
    instance: str
    """The path that was asked for."""
    request_id: str
    """The `X-Request-Id` of the answer, which the server's log knows as well."""

    @staticmethod
    def members(_error: Any, /) -> dict[str, Any]:
        """What the problem of this error carries beyond the members above."""
        return {}


class BadField(BaseModel):
    """One thing that is wrong."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    field: str
    """Its path, such as `required_services[0].type`; `(body)` for the whole."""
    detail: str


class FieldsProblem(Problem):
    """A body or a query that does not fit, with everything that is wrong with it."""

    errors: list[BadField]
    """Every bad field, a hundred at most."""

    @staticmethod
    def members(error: Invalid, /) -> dict[str, Any]:
        return {"errors": [asdict(field) for field in error.fields[:FIELDS_MAX]]}


class SessionStateProblem(Problem):
    """What can't be done in the state that a session is in."""

    session_id: str
    state: SessionState
    reason: EndReason | None

    @staticmethod
    def members(error: SessionOver | NoToken, /) -> dict[str, Any]:
        return {"session_id": error.session_id, "state": error.state, "reason": error.reason}


class SessionServicesProblem(Problem):
    """A session that did not get ready, with the reason of each service that it required."""

    session_id: str
    reason: EndReason | None
    services: list[RequiredServiceView]

    @staticmethod
    def members(error: NotReady | RoomUnavailable, /) -> dict[str, Any]:
        return {"session_id": error.session_id, "reason": error.reason, "services": error.services}


class ServicesProblem(Problem):
    """A session that was refused, with the reason of each service that it can't have."""

    services: list[RequiredServiceView]

    @staticmethod
    def members(error: NotAvailable, /) -> dict[str, Any]:
        reasons = {id(unmet.requirement): unmet.reason for unmet in error.unmet}
        views = (RequiredServiceView.of_requirement(asked, reasons.get(id(asked))) for asked in error.requirements)
        return {"services": [view.model_dump(mode="json") for view in views]}
