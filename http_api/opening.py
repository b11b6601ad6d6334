"""Opening a session for a request that waits for it: what is opened, for how long it is waited, what became of it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

import structlog
from aiohttp import web
from ulid import ULID

from http_api import keys
from http_api.errors import NotReady, RoomUnavailable, SessionOver, Unready
from http_api.schemas import CreateSession
from manager_agent.session import GIVES_TOKENS, EndReason, Limits, RequiredService, Session, User
from manager_agent.store import UnknownSession


def new_session(
    body: CreateSession, services: tuple[RequiredService, ...], limits: Limits, now: float, owner: str
) -> Session:
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
        owner=owner,
        state_since=now,
    )


async def open_session(
    app: web.Application, session: Session, patience: float | None, *, ends_with_its_client: bool = True
) -> Session:
    """Opens the session and waits, for `patience` seconds at most, until it is ready. Raises what became of it when it
    is over by then. A caller who is cancelled, because his client went away, ends it, unless it is to go on."""
    conductor, session_id = app[keys.CONDUCTOR], session.session_id
    with structlog.contextvars.bound_contextvars(session_id=session_id, room=session.room_name):
        try:
            session = await conductor.open(session)
            return await until_ready(app, session_id, patience)
        except asyncio.CancelledError:
            if ends_with_its_client:
                app[keys.TASKS].spawn(_give_up(app, session_id), name=f"{session_id} give up")
            raise


async def until_ready(app: web.Application, session_id: str, patience: float | None) -> Session:
    """The session once it is ready, or as it is after `patience` seconds. Raises what became of it when it is over by
    then, and UnknownSession."""
    store = app[keys.STORE]
    try:
        async with asyncio.timeout(patience):
            session = await store.wait_for(session_id, decided)
    except TimeoutError:
        session = store.get(session_id)
    if session.over:
        raise await _what_became(app, session)
    return session


def decided(session: Session) -> bool:
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
