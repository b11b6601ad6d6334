"""/api/v1/sessions: ask for one, look, close, get a token, and say that a service is ready."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus

import structlog
from aiohttp import web
from ulid import ULID

from http_api import keys
from http_api.bodies import read_body, read_query
from http_api.errors import (
    Forbidden,
    NoToken,
    NotReady,
    RoomUnavailable,
    ServiceOut,
    SessionOver,
    Unauthorized,
    Unready,
)
from http_api.paging import page
from http_api.prefer import preferences
from http_api.schemas import CreateSession, ListSessions, SayReady
from http_api.views import SessionList, SessionView, SessionWithToken, answer
from manager_agent.events import Evidence, Said, ServiceSaid
from manager_agent.messages import Answer
from manager_agent.rooms import Joiner
from manager_agent.session import (
    GIVES_TOKENS,
    EndReason,
    Limits,
    RequiredService,
    ServiceState,
    Session,
    User,
)
from manager_agent.store import UnknownSession

PATH = "/api/v1/sessions"


async def create(request: web.Request) -> web.Response:
    """201 with the token once it is ready; 202 when the caller would rather not wait any longer."""
    app, limits = request.app, request.app[keys.SETTINGS].limits()
    profiles = app[keys.PROFILES]
    body = await read_body(request, CreateSession, longest=limits.max_duration, profiles=profiles)
    preferred = preferences(request.headers.getall("Prefer", ()))
    wanted = new_session(body, app[keys.REGISTRY].choose(body.requirements(profiles)), limits, app[keys.CLOCK]())
    session = await _open(app, wanted, preferred.patience)
    headers = {"Location": f"{PATH}/{session.session_id}"}
    if preferred.applied:
        headers["Preference_Applied"] = preferred.applied
    status = HTTPStatus.CREATED if session.state in GIVES_TOKENS else HTTPStatus.ACCEPTED
    return answer(_for_owner(app, session), status, **headers)


async def list_all(request: web.Request) -> web.Response:
    asked = read_query(request, ListSessions)
    sessions = (session for session in request.app[keys.STORE].list() if _fits(session, asked))
    shown, cursor = page(sessions, limit=asked.limit, after=asked.cursor)
    return answer(SessionList(sessions=[SessionView.of(session) for session in shown], next_cursor=cursor))


async def show(request: web.Request) -> web.Response:
    return answer(_for_owner(request.app, _session(request)))


async def close(request: web.Request) -> web.Response:
    session = await request.app[keys.CONDUCTOR].close(request.match_info["session_id"])
    return answer(SessionView.of(session))


async def give_token(request: web.Request) -> web.Response:
    session = _session(request)
    if session.state not in GIVES_TOKENS:
        raise NoToken(session)
    return answer(_for_owner(request.app, session))


async def say_ready(request: web.Request) -> web.Response:
    """A service says that it is ready; the join token of its invite proves that it is the one."""
    app, joiner = request.app, request.app[keys.ROOMS].joiner(bearer(request))
    session = _session(request)
    body = await read_body(request, SayReady)
    entry = invited_as(session, body.service_id, joiner)
    said = ServiceSaid(app[keys.CLOCK](), joiner.identity, Said.READY, Evidence.HTTP)
    session = await app[keys.STORE].update(session.session_id, said)
    if session.over:
        raise SessionOver(session)
    if session.services[entry].state is not ServiceState.READY:
        raise ServiceOut(session.services[entry])
    return answer(Answer(revision=session.revision))


# --- what the endpoints lean on ---------------------------------------------------------------------


def new_session(body: CreateSession, services: tuple[RequiredService, ...], limits: Limits, now: float) -> Session:
    """The session that is asked for, of which nothing has been done yet."""
    ulid = ULID.from_timestamp(now)
    return Session(
        session_id=f"ses_{ulid}",
        room_name=body.room_name or f"room-{str(ulid).lower()}",
        user=User(
            identity=body.user_identity,
            name=body.user_name or "",
            attributes=body.user_attributes or {},
            grants=body.user_grants.model_dump(exclude_none=True) if body.user_grants else {},
        ),
        created_at=now,
        services=services,
        metadata=body.metadata or {},
        limits=replace(
            limits,
            ready_timeout=body.ready_timeout or limits.ready_timeout,
            max_duration=body.max_duration or limits.max_duration,
        ),
        state_since=now,
    )


def invited_as(session: Session, service_id: str, joiner: Joiner) -> int:
    """The entry of the service that was invited into this session under the joiner's identity. Raises
    Forbidden when the joiner is somebody else."""
    if joiner.room_name == session.room_name:
        for entry, service in enumerate(session.services):
            if service.service_id == service_id and service.identity == joiner.identity:
                return entry
    raise Forbidden(f"the token is not that of {service_id!r}'s present invite into this session")


def bearer(request: web.Request) -> str:
    """The token in the Authorization header. Raises Unauthorized."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized("send the join token of the invite as Authorization: Bearer")
    return token.strip()


async def _open(app: web.Application, session: Session, patience: float | None) -> Session:
    """Opens the session and waits, for `patience` seconds at most, until it is ready. Raises what became of it
    when it is over by then. A caller who is cancelled, because his client went away, ends it."""
    conductor, store, session_id = app[keys.CONDUCTOR], app[keys.STORE], session.session_id
    with structlog.contextvars.bound_contextvars(session_id=session_id, room=session.room_name):
        try:
            session = await conductor.open(session)
            try:
                async with asyncio.timeout(patience):
                    session = await store.wait_for(session_id, _decided)
            except TimeoutError:
                session = store.get(session_id)
        except asyncio.CancelledError:
            app[keys.TASKS].spawn(_give_up(app, session_id), name=f"{session_id} give up")
            raise
        if session.over:
            raise await _what_became(app, session)
        return session


def _decided(session: Session) -> bool:
    return session.over or session.state in GIVES_TOKENS


async def _give_up(app: web.Application, session_id: str) -> None:
    with suppress(UnknownSession):  # it was refused at the same moment
        await app[keys.CONDUCTOR].close(session_id, client_gone=True)


async def _what_became(app: web.Application, session: Session) -> Exception:
    """The error to answer with for a session that was over before it was ready."""
    if app[keys.STOPPING].is_set():
        return Unready("the session manager is stopping")
    match session.end and session.end.reason:
        case EndReason.READY_TIMEOUT | EndReason.SERVICE_LOST:
            return NotReady(await app[keys.CONDUCTOR].settled(session.session_id))
        case EndReason.ROOM_UNAVAILABLE:
            return RoomUnavailable(session)
    return SessionOver(session)


def _for_owner(app: web.Application, session: Session) -> SessionView:
    if session.state not in GIVES_TOKENS:
        return SessionView.of(session)
    return SessionWithToken.for_owner(session, app[keys.ROOMS].user_token(session), app[keys.SETTINGS].public_url)


def _session(request: web.Request) -> Session:
    return request.app[keys.STORE].get(request.match_info["session_id"])


def _fits(session: Session, asked: ListSessions) -> bool:
    by_state = not asked.state or session.state in asked.state
    return by_state and (asked.service is None or any(s.service_id == asked.service for s in session.services))
