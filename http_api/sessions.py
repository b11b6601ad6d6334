"""/api/v1/sessions: ask for one, look, close, and get a fresh token."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web

from http_api import keys
from http_api.bodies import read_body, read_query
from http_api.errors import NoToken
from http_api.opening import new_session, open_session
from http_api.ownership import caller_of, own_session_of, session_of, view_for
from http_api.paging import page
from http_api.prefer import preferences
from http_api.schemas import CreateSession, ListSessions
from http_api.views import SessionList, SessionView, answer
from manager_agent.session import GIVES_TOKENS, Session

PATH = "/api/v1/sessions"


async def create(request: web.Request) -> web.Response:
    """Asks for a session.

    The answer comes once it is ready, as 201 with the token. With `Prefer: wait=N` it comes within N seconds, and with
    `Prefer: respond-async` at once: as 202 when the session is not ready by then, which goes on. A caller who goes
    away while waiting, having sent no Idempotency-Key, ends the session.
    """
    app, limits, caller = request.app, request.app[keys.SETTINGS].limits(), caller_of(request)
    profiles = app[keys.PROFILES]
    body = await read_body(request, CreateSession, longest=limits.max_duration, profiles=profiles)
    preferred = preferences(request.headers.getall("Prefer", ()))
    services = app[keys.REGISTRY].choose(body.requirements(profiles))
    wanted = new_session(body, services, limits, app[keys.CLOCK](), caller.name)
    session = await open_session(app, wanted, preferred.patience)
    headers = {"Location": f"{PATH}/{session.session_id}"}
    if preferred.applied:
        headers["Preference_Applied"] = preferred.applied
    status = HTTPStatus.CREATED if session.state in GIVES_TOKENS else HTTPStatus.ACCEPTED
    return answer(view_for(request, session), status, **headers)


async def list_all(request: web.Request) -> web.Response:
    """Lists the caller's sessions, newest first; with scope `admin` everybody's.

    Those that are over stay for SESSION_RETENTION. No token is in a list.
    """
    asked, caller = read_query(request, ListSessions), caller_of(request)
    sessions = (s for s in request.app[keys.STORE].list() if caller.sees(s.owner) and _fits(s, asked))
    shown, cursor = page(sessions, limit=asked.limit, after=asked.cursor)
    return answer(SessionList(sessions=[SessionView.of(session) for session in shown], next_cursor=cursor))


async def show(request: web.Request) -> web.Response:
    """Shows a session as it is; with a token while it is ready or active."""
    return answer(view_for(request, session_of(request)))


async def close(request: web.Request) -> web.Response:
    """Ends a session: its room is deleted and its services are told. Again: the same answer."""
    session = await request.app[keys.CONDUCTOR].close(session_of(request).session_id)
    return answer(SessionView.of(session))


async def give_token(request: web.Request) -> web.Response:
    """Gives a fresh token for the session's user."""
    session = own_session_of(request)
    if session.state not in GIVES_TOKENS:
        raise NoToken(session)
    return answer(view_for(request, session))


def _fits(session: Session, asked: ListSessions) -> bool:
    by_state = not asked.state or session.state in asked.state
    return by_state and (asked.service is None or any(s.service_id == asked.service for s in session.services))
