"""The models of queries. Unknown parameters are rejected."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from http_api.models import field_types
from http_api.models.paging import LIMIT_DEFAULT, LIMIT_MAX, read_cursor
from manager_agent.session.session import SessionState


class Query(BaseModel):
    """A query string. Not strict: all values arrive as strings."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


def _as_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


class HealthQuery(Query):
    model_config = ConfigDict(json_schema_extra={"examples": [{}]})

    deep: bool = False
    """Run the probe: create a real room, join it, and exchange a message with the manager."""


class InstanceQuery(Query):
    """The instance that the request is about, for services whose instances register one after another."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"endpoint": "http://127.0.0.1:9001/invites"}]})

    endpoint: Annotated[str, Field(max_length=2_048)] | None = None
    """The endpoint of the instance: 409 if the registered instance has a different one."""


class ListSessions(Query):
    model_config = ConfigDict(json_schema_extra={"examples": [{"state": ["ready", "active"], "limit": 20}]})

    state: Annotated[list[SessionState], BeforeValidator(_as_list)] = []
    """Only sessions in this state; repeat the parameter for several states."""
    service: field_types.ServiceId | None = None
    """Only sessions that include this service."""
    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT
    # The validator decodes the cursor: the value here is the session id.
    cursor: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{40}$"), AfterValidator(read_cursor)] | None = None
    """The `next_cursor` of the previous page."""
