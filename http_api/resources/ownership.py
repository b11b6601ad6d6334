"""Ownership: which sessions and services the caller of a request may see and change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from aiohttp import web

from http_api.access.principals import Principal
from http_api.app_keys import ACTING, CLOCK, RECORDING, RECORDS, RECOVERY, REGISTRY, ROOMS, STORE
from http_api.errors import NoToken, OtherCaller, Recovering
from http_api.limits.registrations_begun import Begun
from http_api.models.rendered import RENDERED_SESSIONS
from http_api.models.responses import ServiceView, SessionWithToken
from http_api.observability.logs.context import bind_session
from http_api.observability.tracing.requests import record_token
from http_api.replica import caught_up
from http_api.request_context import PRINCIPAL
from http_api.settings.settings import SETTINGS
from manager_agent.livekit.tokens import AccessToken
from manager_agent.registry.selection import InstanceStatus
from manager_agent.registry.services import RegisteredService, UnknownService
from manager_agent.session.session import GIVES_TOKENS, Session
from manager_agent.session.specification import Specification
from manager_agent.store.store import UnknownSession


def refuse_while_recovering(request: web.Request) -> None:
    """Raise Recovering while sessions of an earlier process may not be known yet."""
    if not request.app[RECOVERY].is_complete:
        raise Recovering


def refuse_unrecovered_name(request: web.Request, room_name: str | None) -> None:
    """Raise Recovering while the session of a room of this name may not be known yet."""
    if room_name is not None and request.app[RECOVERY].may_find(lambda room: room.name == room_name):
        raise Recovering


def session_of(request: web.Request) -> Session:
    """The session in the path. Raises UnknownSession, also for another caller's session, so as not to reveal that it
    exists."""
    session_id = request.match_info["session_id"]
    session = request.app[STORE].get(session_id)
    if not request[PRINCIPAL].sees(session.owner):
        raise UnknownSession(session_id)
    bind_session(request, session)
    return session


def own_session_of(request: web.Request) -> Session:
    """The session in the path, for operations reserved to its owner (tokens). Raises UnknownSession."""
    session = session_of(request)
    if not request[PRINCIPAL].owns(session.owner):
        raise UnknownSession(session.session_id)
    return session


@dataclass(frozen=True, slots=True)
class ShownSession:
    """A session as a caller may see it."""

    revision: int
    json: str = field(repr=False)
    """Of a SessionView or SessionWithToken."""


def shown_without_token(request: web.Request, session: Session) -> ShownSession:
    return ShownSession(session.revision, request.app[RENDERED_SESSIONS].of(session))


async def shown_to_caller(request: web.Request, session: Session) -> ShownSession:
    """The session as this caller may see it: with a token if the caller owns it and it is ready or active. Raises what
    token_giver raises."""
    if session.state not in GIVES_TOKENS or not request[PRINCIPAL].owns(session.owner):
        return shown_without_token(request, session)
    session = await token_giver(request, session.session_id)
    token = await user_token(request, session)
    shown = shown_without_token(request, session)
    json = SessionWithToken.json_for_owner(shown.json, token, request.app[SETTINGS].public_url)
    return ShownSession(shown.revision, json)


async def token_giver(request: web.Request, session_id: str) -> Session:
    """The session as it is once it is recorded that it gives tokens. Make the token without an await in between: the
    session may change meanwhile. Raises NoToken, UnknownSession, NotRecorded, and NotActing or RedisAway, because
    another process may know better whether the session gives tokens."""
    app, acting = request.app, request.app[ACTING]
    await acting.require()  # or the record would be awaited in vain
    await app[RECORDING].until_recorded(session_id)
    await caught_up(app)  # this replica may have been frozen since it looked
    await acting.require()
    session = app[STORE].get(session_id)
    if session.state not in GIVES_TOKENS:
        raise NoToken(*state_of(session))
    return session


async def user_token(request: web.Request, session: Session) -> AccessToken:
    """A fresh token for the user of a session from `token_giver`, once it is recorded that it reserves the room's
    name. Raises NotActing."""
    app = request.app
    now = app[CLOCK]()
    token = app[ROOMS].tokens.for_user(session, now)
    record_token(request, session, begun=now)
    await app[RECORDS].committed()
    return token


def sees_service(principal: Principal, service: RegisteredService) -> bool:
    """Whether the caller may see this service."""
    return service.is_for_all or principal.sees(service.owner)


def service_view(principal: Principal, status: InstanceStatus) -> ServiceView:
    """The service as this caller may see it: its endpoint only if it is the caller's own."""
    view = ServiceView.of(status)
    return view if principal.sees(status.service.owner) else view.model_copy(update={"endpoint": None})


def refuse_unseen(request: web.Request, service_id: str) -> None:
    """Raises UnknownService, also for another caller's service, so as not to reveal that it exists."""
    if not sees_service(request[PRINCIPAL], request.app[REGISTRY].get(service_id)):
        raise UnknownService(service_id)


def refuse_too_long(request: web.Request, session: Session) -> None:
    """Raise TokenTooLong if the session's user could never get a token, and SpecificationTooLong if the session could
    not be recorded, before its room is created."""
    request.app[ROOMS].tokens.refuse_long(session, request.app[CLOCK]())
    Specification.of(session).refuse_long()


def refuse_others(request: web.Request, service_id: str) -> None:
    """For changes of a service. Raises UnknownService as refuse_unseen does, and OtherCaller for a shared service that
    another caller registered, or that is listed in the SERVICES_FILE."""
    refuse_unseen(request, service_id)
    service = request.app[REGISTRY].get(service_id)
    is_own = not service.static and request[PRINCIPAL].sees(service.owner)
    if not is_own and not request[PRINCIPAL].is_admin:
        raise OtherCaller(service_id)


def refuse_taken(request: web.Request, service_id: str, begun: Sequence[Begun]) -> None:
    """For registrations. Raises OtherCaller when another caller has registered this id, or began to: ids are unique."""
    principal = request[PRINCIPAL]
    if any(other.service_id == service_id and not principal.may_register_over(other.owner) for other in begun):
        raise OtherCaller(service_id)
    try:
        service = request.app[REGISTRY].get(service_id)
    except UnknownService:
        return
    if not service.static and not principal.may_register_over(service.owner):
        raise OtherCaller(service_id)


def refuse_agent_of_others(request: web.Request, agent_name: str | None, begun: Sequence[Begun]) -> None:
    """For registrations. Raises OtherCaller when another caller has registered this agent, or began to, or the
    SERVICES_FILE lists it: LiveKit would dispatch the other caller's workers into rooms of this one. Administrators
    may."""
    principal = request[PRINCIPAL]
    if agent_name is None or principal.is_admin:
        return
    if any(other.agent_name == agent_name and not principal.may_register_over(other.owner) for other in begun):
        raise OtherCaller(agent_name)
    agents = request.app[REGISTRY].of_agent(agent_name)
    if any(agent.static or not principal.may_register_over(agent.owner) for agent in agents):
        raise OtherCaller(agent_name)


def state_of(session: Session) -> tuple[str, str, str | None]:
    """The members of a session in errors: its id, its state, and the reason of its end."""
    return session.session_id, session.state, None if session.end is None else session.end.reason
