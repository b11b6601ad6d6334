"""Opening a session for a request that waits for it: what is opened, for how long it is waited, what became of it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any

from aiohttp import web
from ulid import ULID

from http_api.errors import NotReady, RoomUnavailable, SessionOver, Unready
from http_api.limits.quotas import CAPACITY
from http_api.limits.waiters import WAITERS, decided, until
from http_api.manager_parts import ORCHESTRATOR, STOPPING, STORE, TASKS
from http_api.models.requests import CreateSession
from http_api.models.responses import SessionView
from http_api.protocol.server_timing import server_timing
from http_api.resources.ownership import state_of
from http_api.settings.settings import SETTINGS
from manager_agent.session.plan import NAME_QUARANTINE
from manager_agent.session.session import EndReason, Limits, RequiredService, Session, User
from manager_agent.store.store import RoomNameTaken, UnknownSession

IS_STOPPING = "the session manager is stopping"


def new_session(
    body: CreateSession, services: tuple[RequiredService, ...], limits: Limits, now: float, owner: str
) -> Session:
    """The session that is asked for, of which nothing has been done yet."""
    user = User(
        identity=body.user_identity,
        name=body.user_name or "",
        attributes=body.user_attributes or {},
        grants=body.user_grants.granted() if body.user_grants else {},
    )
    limits = replace(
        limits,
        ready_timeout=body.ready_timeout or limits.ready_timeout,
        max_duration=body.max_duration or limits.max_duration,
    )
    session = session_for(user, services, limits, now, owner, body.room_name)
    profile = body.profile or ""
    return replace(session, metadata=body.metadata or {}, callback_url=body.callback_url, profile=profile)


def session_for(
    user: User,
    services: tuple[RequiredService, ...],
    limits: Limits,
    now: float,
    owner: str,
    room_name: str | None,
) -> Session:
    """A session of which nothing has been done yet; its room gets a name of its own when none is given."""
    ulid = ULID.from_timestamp(now)
    return Session(
        session_id=f"ses_{ulid}",
        room_name=room_name or f"room-{str(ulid).lower()}",
        user=user,
        created_at=now,
        services=services,
        limits=limits,
        owner=owner,
        state_since=now,
    )


async def open_session(
    app: web.Application, session: Session, max_wait: float | None, *, ends_with_its_client: bool = True
) -> Session:
    """Opens the session and waits, for `max_wait` seconds at most, until it is ready. Raises what became of it when it
    is over by then, Unready, TooManySessions and Overloaded. A caller who is cancelled, because his client went away,
    ends it, unless it is to go on."""
    orchestrator, session_id = app[ORCHESTRATOR], session.session_id
    if app[STOPPING].is_set():
        raise Unready(IS_STOPPING)
    with app[WAITERS].slot():
        app[CAPACITY].check(session.owner)
        try:
            session = await orchestrator.open(_with_callback(app, session))
            return await _until_ready(app, session_id, max_wait)
        except asyncio.CancelledError:
            if ends_with_its_client:
                app[TASKS].spawn(_give_up(app, session_id), name=f"{session_id} give up")
            raise


def _with_callback(app: web.Application, session: Session) -> Session:
    """With the callback of its owner, unless it has one of its own."""
    usual = app[SETTINGS].callback_urls.get(session.owner)
    if session.callback_url is not None or usual is None:
        return session
    return replace(session, callback_url=usual.get_secret_value())


async def until_ready(app: web.Application, session_id: str, max_wait: float | None) -> Session:
    """The session once it is ready, or as it is after `max_wait` seconds. Raises what became of it when it is over by
    then, UnknownSession and Overloaded."""
    with app[WAITERS].slot():
        return await _until_ready(app, session_id, max_wait)


async def _until_ready(app: web.Application, session_id: str, max_wait: float | None) -> Session:
    session = await until(app[STORE], session_id, decided, max_wait)
    if session.over:
        raise await _what_became(app, session)
    return session


async def _give_up(app: web.Application, session_id: str) -> None:
    with suppress(UnknownSession):  # it was refused at the same moment
        await app[ORCHESTRATOR].close(session_id, client_gone=True)


async def _what_became(app: web.Application, session: Session) -> Exception:
    """The error to answer with for a session that was over before it was ready."""
    if app[STOPPING].is_set():
        return Unready(IS_STOPPING)
    if session.room.taken:
        return RoomNameTaken(session.room_name, NAME_QUARANTINE)
    match session.end and session.end.reason:
        case EndReason.READY_TIMEOUT | EndReason.SERVICE_LOST:
            session = await app[ORCHESTRATOR].settled(session.session_id)
            return NotReady(*services_of(session), server_timing(session, session.state_since))
        case EndReason.ROOM_UNAVAILABLE:
            return RoomUnavailable(*services_of(session))
    return SessionOver(*state_of(session))


def services_of(session: Session) -> tuple[str, str | None, list[dict[str, Any]]]:
    """The id of the session, the reason of its end, and the JSON of its services."""
    view = SessionView.of(session).model_dump(mode="json")
    return view["session_id"], view["reason"], view["services"]
