"""Ownership: which sessions and services the caller of a request may see and change."""

from __future__ import annotations

from aiohttp import web

from http_api.app_keys import REGISTRY, ROOMS, STORE
from http_api.errors import OtherCaller
from http_api.models.responses import SessionView, SessionWithToken
from http_api.observability.logs.context import bind_session
from http_api.observability.tracing.requests import giving_token
from http_api.request_context import PRINCIPAL
from http_api.settings.settings import SETTINGS
from manager_agent.livekit.tokens import AccessToken
from manager_agent.registry.services import UnknownService
from manager_agent.session.session import GIVES_TOKENS, Session
from manager_agent.store.store import UnknownSession


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


def view_for(request: web.Request, session: Session) -> SessionView:
    """The session as this caller may see it: with a token if the caller owns it and it is ready or active."""
    if session.state not in GIVES_TOKENS or not request[PRINCIPAL].owns(session.owner):
        return SessionView.of(session)
    return SessionWithToken.for_owner(session, user_token(request, session), request.app[SETTINGS].public_url)


def user_token(request: web.Request, session: Session) -> AccessToken:
    """A fresh token for the session's user."""
    with giving_token(request, session):
        return request.app[ROOMS].user_token(session)


def refuse_others(request: web.Request, service_id: str) -> None:
    """Raise OtherCaller when another caller registered this service. Seeing services is not restricted."""
    try:
        owner = request.app[REGISTRY].get(service_id).owner
    except UnknownService:
        return  # an unregistered id is free for any caller
    if not request[PRINCIPAL].speaks_for(owner):
        raise OtherCaller(service_id)


def state_of(session: Session) -> tuple[str, str, str | None]:
    """The members of a session in errors: its id, its state, and the reason of its end."""
    return session.session_id, session.state, None if session.end is None else session.end.reason
