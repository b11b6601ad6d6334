"""The models of response bodies. SessionView is the only JSON representation of a session."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Self

import msgspec
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from manager_agent import frozen
from manager_agent.json_object import EMPTY, JsonObject
from manager_agent.livekit.tokens import AccessToken
from manager_agent.messages import rfc3339
from manager_agent.registry.instances import InstanceState
from manager_agent.registry.selection import InstanceStatus
from manager_agent.session.attempt import ServiceReason, ServiceState, Timeline
from manager_agent.session.events import Evidence, ReadyOn
from manager_agent.session.required_service import RequiredService, Requirement
from manager_agent.session.session import EndReason, Session, SessionState

ITEMS_AT_ONCE = 32
"""The number of items of a list rendered before yielding to the event loop."""


class View(BaseModel):
    """A response body. Fields may be added in later versions: clients must ignore unknown fields."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_serialization_defaults_required=True,
        defer_build=True,
    )


class RequiredServiceView(View):
    """One required service of a session. In a refused session only the requirement and the `reason` are set."""

    service_id: str | None
    type: str | None
    state: ServiceState
    optional: bool
    reason: ServiceReason | None
    detail: str | None = None
    """More about the reason: for `reported_failure` what the service said, for `unreachable` why the session manager
    refuses to call the endpoint."""
    ready_by: Evidence | None = None
    attempt: int = 0
    timeline: dict[str, str] = Field(default_factory=dict)
    """The instants known so far, by name."""

    @classmethod
    def of(cls, session: Session, service: RequiredService) -> Self:
        return cls(
            service_id=service.service_id,
            type=service.type,
            state=service.state,
            optional=service.optional,
            reason=session.reason_of(service),
            detail=service.current.fault_detail,
            ready_by=service.ready_by,
            attempt=service.attempt,
            timeline=known_instants(service.timeline),
        )

    @classmethod
    def of_requirement(cls, asked: Requirement, reason: ServiceReason | None) -> Self:
        """For a refused session: the requirement, and why no service meets it (None: one does)."""
        return cls(
            service_id=asked.service_id,
            type=asked.type,
            state=ServiceState.PENDING,
            optional=asked.optional,
            reason=reason,
        )


class SessionView(View):
    session_id: str
    room_name: str
    state: SessionState
    user_identity: str
    user_name: str
    metadata: dict[str, Any]
    services: list[RequiredServiceView]
    created_at: str
    ready_at: str | None
    ready_deadline: str
    """The session fails unless all required services are ready by then."""
    ended_at: str | None
    reason: EndReason | None
    revision: int
    """Increases with each change of what is shown here."""

    @classmethod
    def of(cls, session: Session) -> Self:
        return cls(
            session_id=session.session_id,
            room_name=session.room_name,
            state=session.state,
            user_identity=session.user.identity,
            user_name=session.user.name,
            metadata=session.metadata.parsed(),
            services=[RequiredServiceView.of(session, service) for service in session.services],
            created_at=rfc3339(session.created_at),
            ready_at=rfc3339_or_none(session.ready_at),
            ready_deadline=rfc3339(session.ready_deadline),
            ended_at=None if session.end is None else rfc3339(session.end.at),
            reason=None if session.end is None else session.end.reason,
            revision=session.revision,
        )

    @classmethod
    def json_of(cls, session: Session) -> str:
        """The JSON of the view, on one line."""
        return _with_metadata(cls.of(frozen.replace(session, metadata=EMPTY)), session.metadata)


class SessionWithToken(SessionView):
    """A session with a token for its user. Only the owner gets it, while the session is ready or active."""

    server_url: str
    access_token: str = Field(repr=False)
    token_expires_at: str

    @staticmethod
    def json_for_owner(view: str, token: AccessToken, server_url: str) -> str:
        """The JSON of the view with the token, on one line. `view`: that of the SessionView."""
        added = {"server_url": server_url, "access_token": token.jwt, "token_expires_at": rfc3339(token.expires_at)}
        return f"{view[:-1]},{msgspec.json.encode(added)[1:].decode()}"


class ParticipantView(View):
    """Another participant, with a token for the session's room."""

    identity: str
    name: str
    room_name: str
    server_url: str
    access_token: str = Field(repr=False)
    token_expires_at: str


class SessionList(View):
    sessions: list[SessionView]
    next_cursor: str | None
    """Null on the last page."""


class ServiceView(View):
    """A registered service and its current status."""

    service_id: str
    type: str
    state: InstanceState
    endpoint: str | None
    agent_name: str | None
    ready_on: ReadyOn
    labels: dict[str, str]
    metadata: dict[str, Any]
    registered_at: str
    static: bool
    shared: bool
    """Whether the sessions of every caller may use it. Its endpoint is null for others than its owner."""
    in_flight: int
    """The number of required services of live sessions for which it is chosen."""
    capacity: int | None
    load: float | None
    """The load that it last reported, 0 to 1."""
    lease_seconds: float | None
    lease_expires_at: str | None
    """The service is not removed before this instant."""

    @classmethod
    def of(cls, status: InstanceStatus) -> Self:
        service, instance = status.service, status.instance
        return cls(
            service_id=service.service_id,
            type=service.type,
            state=status.state,
            endpoint=service.endpoint,
            agent_name=service.agent_name,
            ready_on=service.ready_on,
            labels=dict(service.labels),
            metadata=service.metadata.parsed(),
            registered_at=rfc3339(service.registered_at),
            static=service.static,
            shared=service.is_for_all,
            in_flight=status.in_flight,
            capacity=service.capacity,
            load=instance.load,
            lease_seconds=service.lease_seconds,
            lease_expires_at=None if instance.lease is None else rfc3339(instance.lease.expires_at),
        )

    @classmethod
    def json_of(cls, status: InstanceStatus, *, shows_endpoint: bool) -> str:
        """The JSON of the view, on one line; its endpoint only if `shows_endpoint`."""
        service = status.service
        shown = replace(service, metadata=EMPTY, endpoint=service.endpoint if shows_endpoint else None)
        view = cls.of(replace(status, instance=replace(status.instance, service=shown)))
        return _with_metadata(view, service.metadata)


class RegisteredServiceView(ServiceView):
    """A service that was just registered."""

    warning: str | None = None
    """Why no invite will reach it, if that is known already."""

    @classmethod
    def warned(cls, view: ServiceView, warning: str | None) -> Self:
        return cls(**dict(view), warning=warning)


class ServiceList(View):
    services: list[ServiceView]


def answer(view: BaseModel, status: HTTPStatus = HTTPStatus.OK, **headers: str) -> web.Response:
    """A JSON response with the view as its body. Write header names with underscores for hyphens."""
    return json_answer(view.model_dump_json(), status, **headers)


def json_answer(json: str, status: HTTPStatus = HTTPStatus.OK, **headers: str) -> web.Response:
    """A JSON response with the JSON of a view as its body. Write header names as for `answer`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.Response(
        status=status,
        body=json.encode(),
        headers={"Cache-Control": "no-store", **named, "Content-Type": "application/json"},
    )


async def answer_list(empty: BaseModel, field: str, items: Iterable[str]) -> web.Response:
    """A JSON response with the view `empty`, whose list of this name has these items, rendered one by one: they may be
    thousands, and meanwhile others are served."""
    rendered = list[str]()
    for number, item in enumerate(items, start=1):
        rendered.append(item)
        if number % ITEMS_AT_ONCE == 0:
            await asyncio.sleep(0)
    body = empty.model_dump_json().replace(f'"{field}":[]', f'"{field}":[{",".join(rendered)}]', 1)
    return json_answer(body)


def _with_metadata(view: View, metadata: JsonObject) -> str:
    """The JSON of a view that was made without the metadata. To parse and render 16 KiB takes twenty times as long as
    all the rest. In the fields before it, the name with its quotes can't occur: strings have theirs escaped."""
    return view.model_dump_json().replace('"metadata":{}', f'"metadata":{metadata.text}', 1)


def rfc3339_or_none(at: float | None) -> str | None:
    return None if at is None else rfc3339(at)


def known_instants(timeline: Timeline) -> dict[str, str]:
    """The instants of a timeline that are set, by name, in RFC 3339."""
    return {name: rfc3339(at) for name, at in timeline.known.items()}
