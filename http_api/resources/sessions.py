"""/api/v1/sessions: create, list, get and end sessions, and create fresh tokens."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from http import HTTPStatus

from aiohttp import web

from http_api.app_keys import CALLBACK_ADDRESSES, CLOCK, ORCHESTRATOR, RECORDING, RECOVERY, STORE
from http_api.errors import NoToken, Recovering
from http_api.limits.idempotency import HEADER, KEY_MARK
from http_api.limits.key_marks import KeyMark
from http_api.limits.keyed_sessions import KEYED_SESSIONS
from http_api.limits.waiters import WAITERS, decided, until
from http_api.models.paging import page
from http_api.models.queries import ListSessions
from http_api.models.required_services import PROFILES
from http_api.models.responses import SessionList, SessionView, answer_list, json_answer
from http_api.models.sessions import CreateSession
from http_api.observability.logs.context import bind_session
from http_api.protocol import server_timing
from http_api.protocol.bodies import read_body, read_query
from http_api.protocol.conditional import KnownTags, entity_tag, known_tags
from http_api.protocol.prefer import Preferences, preferences
from http_api.request_context import PRINCIPAL, TRACE
from http_api.resources.ownership import (
    ShownSession,
    own_session_of,
    refuse_too_long,
    refuse_unrecovered_name,
    refuse_while_recovering,
    session_of,
    shown_to_caller,
    shown_without_token,
    state_of,
)
from http_api.resources.session_requests import NAME_WAIT, SESSION_REQUESTS
from http_api.settings.settings import SETTINGS
from http_api.stopping import STOPPING
from manager_agent.frozen import replace
from manager_agent.json_object import JsonObject
from manager_agent.session.session import GIVES_TOKENS, Session

PATH = "/api/v1/sessions"


async def create(request: web.Request) -> web.Response:
    """Create a session.

    The response is 201 with the token once the session is ready. With `Prefer: wait=N` it comes within N seconds, with
    `Prefer: respond-async` at once: if the session is not ready by then, the response is 202 and the session continues.
    The session ends if the client disconnects while waiting, unless the request has an `Idempotency-Key`.
    """
    session_requests = request.app[SESSION_REQUESTS]
    # Refuse before reading the body. Meanwhile others may open sessions, so open() checks again.
    session_requests.quotas.check(request[PRINCIPAL].name)
    preferred = preferences(request.headers.getall("Prefer", ()))
    respond = partial(_created, request, preferred)
    if (earlier := _earlier_session(request)) is not None:
        bind_session(request, earlier)
        return await session_requests.until_ready(earlier.session_id, respond, max_wait=preferred.max_wait)
    session = await _requested(request)
    refuse_too_long(request, session)
    bind_session(request, session)
    return await session_requests.open(
        session, respond, max_wait=preferred.max_wait, ends_with_its_client=HEADER not in request.headers
    )


async def _created(request: web.Request, preferred: Preferences, session: Session) -> web.Response:
    """The response about a session that was requested. Raises what shown_to_caller raises."""
    status = HTTPStatus.CREATED if session.state in GIVES_TOKENS else HTTPStatus.ACCEPTED
    headers = preferred.applied(asynchronously=status is HTTPStatus.ACCEPTED)
    shown = await shown_to_caller(request, session)
    headers[server_timing.HEADER] = server_timing.server_timing(session, request.app[CLOCK]())
    return _tagged(shown, status, Location=f"{PATH}/{session.session_id}", **headers)


def _earlier_session(request: web.Request) -> Session | None:
    """The session that an earlier request with the same Idempotency-Key has opened, whose answer is not known: the
    process was killed, or could not give it. Raises Recovering, IdempotencyKeyReused."""
    mark: KeyMark | None = request.get(KEY_MARK)
    if mark is None:
        return None
    if request.app[RECOVERY].may_find(lambda room: mark.is_of_key(room.session_id)):
        raise Recovering
    return mark.session_of(request[PRINCIPAL].name, request.app[KEYED_SESSIONS].of(mark))


async def _requested(request: web.Request) -> Session:
    """The session that the body asks for. The body itself, which may be large, is not kept while its client waits."""
    app, settings = request.app, request.app[SETTINGS]
    profiles, bounds = app[PROFILES], {"longest": settings.session_ttl, "grants": settings.user_grants}
    body = await read_body(request, CreateSession, profiles=profiles, address_policy=app[CALLBACK_ADDRESSES], **bounds)
    refuse_unrecovered_name(request, body.room_name)
    await app[SESSION_REQUESTS].check_livekit()
    await app[SESSION_REQUESTS].wait_for_name(body.room_name, request[PRINCIPAL].name, NAME_WAIT)
    session = app[SESSION_REQUESTS].build(
        body.user(),
        body.requirements(profiles),
        owner=request[PRINCIPAL].name,
        room_name=body.room_name,
        trace=request.get(TRACE),
        metadata=JsonObject.of(body.metadata or {}),
        profile=body.profile or "",
        callback_url=body.callback_url,
        ready_timeout=body.ready_timeout,
        max_duration=body.max_duration,
    )
    mark: KeyMark | None = request.get(KEY_MARK)
    return session if mark is None else replace(session, session_id=mark.session_id(session.session_id))


async def list_all(request: web.Request) -> web.Response:
    """List sessions.

    The caller's own sessions, newest first; with scope `admin` those of all callers. Sessions that are over stay listed
    for SESSION_RETENTION seconds. Tokens are never listed.
    """
    asked, principal = read_query(request, ListSessions), request[PRINCIPAL]
    refuse_while_recovering(request)
    sessions = request.app[STORE].newest(before=asked.cursor)
    shown, cursor = page((s for s in sessions if principal.sees(s.owner) and _fits(s, asked)), asked.limit)
    return await answer_list(SessionList(sessions=[], next_cursor=cursor), "sessions", map(SessionView.json_of, shown))


async def show(request: web.Request) -> web.Response:
    """Get a session.

    It has a token while the session is ready or active. With `If-None-Match` the response is 304 if the session still
    has the revision of that `ETag`. `Prefer: wait=N` waits up to N seconds: with such an `If-None-Match` for the next
    change, without one until the session is ready or over. If the session is over, the response is immediate.
    """
    session, known = session_of(request), known_tags(request.headers.getall("If-None-Match", ()))
    preferred, wanted = preferences(request.headers.getall("Prefer", ())), _worth_waiting_for(known)
    if preferred.wait and not wanted(session):
        with request.app[WAITERS].waiting():
            session = await until(
                request.app[STORE], session.session_id, wanted, preferred.wait, request.app[STOPPING].polls
            )
    headers = {"Vary": "Prefer", **preferred.applied(asynchronously=False)}
    if known is not None and known.match(session.revision):
        headers |= {"ETag": entity_tag(session.revision), "Cache-Control": "no-store"}
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    try:
        shown = await shown_to_caller(request, session)
    except NoToken:  # it gave tokens until a moment ago
        shown = shown_without_token(request, session_of(request))
    return _tagged(shown, HTTPStatus.OK, **headers)


async def close(request: web.Request) -> web.Response:
    """End a session.

    Delete the room and notify the services. Repeating the request gets the same response.
    """
    session = await request.app[ORCHESTRATOR].close(session_of(request).session_id)
    await request.app[RECORDING].until_recorded(session.session_id)
    return _tagged(shown_without_token(request, session))


async def give_token(request: web.Request) -> web.Response:
    """Create a fresh token for the session's user."""
    session = own_session_of(request)
    if session.state not in GIVES_TOKENS:
        raise NoToken(*state_of(session))
    return _tagged(await shown_to_caller(request, session))


def _tagged(shown: ShownSession, status: HTTPStatus = HTTPStatus.OK, **headers: str) -> web.Response:
    """A response with the session and the entity tag of its revision."""
    return json_answer(shown.json, status, ETag=entity_tag(shown.revision), **headers)


def _worth_waiting_for(known: KnownTags | None) -> Callable[[Session], bool]:
    if known is None:
        return decided
    return lambda session: session.over or not known.match(session.revision)


def _fits(session: Session, asked: ListSessions) -> bool:
    by_state = not asked.state or session.state in asked.state
    return by_state and (asked.service is None or any(s.service_id == asked.service for s in session.services))
