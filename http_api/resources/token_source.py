"""POST /api/v1/token: the endpoint from which LiveKit's client SDKs get their token (`TokenSource.endpoint(url)`)."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web
from ulid import ULID

from http_api.access.principals import Principal
from http_api.app_keys import REGISTRY, STORE
from http_api.errors import Forbidden
from http_api.models.requests import PROFILES
from http_api.models.responses import answer
from http_api.models.token_source import (
    DEFAULT_PROFILE,
    TokenRequest,
    TokenResponse,
    metadata_of,
    profile_of,
    requirements_of,
)
from http_api.observability.logs.context import bind_session
from http_api.protocol.bodies import read_body
from http_api.request_context import PRINCIPAL, TRACE
from http_api.resources.ownership import user_token
from http_api.resources.participants import further_token
from http_api.resources.session_requests import SESSION_REQUESTS
from http_api.settings.settings import SETTINGS
from manager_agent.livekit.tokens import AccessToken
from manager_agent.session.plan import NAME_QUARANTINE
from manager_agent.session.session import Session, User
from manager_agent.store.store import RoomNameTaken, Store, UnknownSession

PATH = "/api/v1/token"


async def give(request: web.Request) -> web.Response:
    """Gives a token once everybody is there: LiveKit's TokenSource endpoint.

    Each `room_config.agents[].agent_name` is the id of a service, else a type, else a profile; without any it is the
    default profile. An agent's `metadata` is in the invites, as `session.metadata.agents.<agent_name>`. Fields that are
    not known here are ignored. Missing names are made. The answer comes once the session is ready, and never without a
    token.

    In a room with a session of the same caller, the same identity gets a token again, on the session's own terms, and
    another one joins as a further human; while a service is being replaced they wait. A user whom the caller's own
    issuer vouches for gets tokens for his own identity alone.

    A client that goes away while it waits ends a session whose room name was made for it, as nobody could ever find
    that again. One whose room name was given goes on: the page that is loaded again gets into it, and if none is, it
    ends when nobody joins in time.
    """
    app, principal = request.app, request[PRINCIPAL]
    asked = await read_body(request, TokenRequest) if request.can_read_body else TokenRequest()
    human = _human(asked, principal)
    # Of two that ask for one room at the same moment the second finds the session of the first: nothing is awaited
    # between this look and the opening.
    session = _live_session(app[STORE], asked.room_name, principal)
    token = await (_open(request, asked, human) if session is None else _let_in(request, session, human))
    view = TokenResponse(server_url=app[SETTINGS].public_url, participant_token=token.jwt)
    return answer(view, HTTPStatus.CREATED)


def _human(asked: TokenRequest, principal: Principal) -> User:
    """Who is to get in. Raises Forbidden."""
    if principal.identity is not None and asked.participant_identity not in (None, principal.identity):
        raise Forbidden("you may have tokens for your own identity alone")
    return User(
        identity=asked.participant_identity or principal.identity or f"user-{str(ULID()).lower()}",
        name=asked.participant_name or "",
        attributes=asked.participant_attributes or {},
        metadata=asked.participant_metadata or "",
    )


def _live_session(store: Store, room_name: str | None, principal: Principal) -> Session | None:
    """The caller's session that has this room. Raises RoomNameTaken when it is another's."""
    session = store.in_room(room_name) if room_name is not None else None
    if session is None or session.over:
        return None
    if not principal.owns(session.owner):
        raise RoomNameTaken(session.room_name, NAME_QUARANTINE)
    return session


async def _open(request: web.Request, asked: TokenRequest, human: User) -> AccessToken:
    """Opens a session for this human; the token, once it is ready. Raises what POST /sessions does."""
    app, session_requests = request.app, request.app[SESSION_REQUESTS]
    default = app[SETTINGS].default_profile or DEFAULT_PROFILE
    known = app[PROFILES], app[REGISTRY].list(), default
    session = session_requests.build(
        human,
        requirements_of(asked.agents, *known),
        owner=request[PRINCIPAL].name,
        room_name=asked.room_name,
        trace=request.get(TRACE),
        metadata=metadata_of(asked.agents, default),
        profile=profile_of(asked.agents, *known),
    )
    bind_session(request, session)
    session = await session_requests.open(session, None, ends_with_its_client=asked.room_name is None)
    return user_token(request, session)


async def _let_in(request: web.Request, session: Session, human: User) -> AccessToken:
    """The token for a session that runs, once it gives one. Raises IdentityTaken, and what became of it if it is over
    by then."""
    bind_session(request, session)
    try:
        session = await request.app[SESSION_REQUESTS].until_ready(session.session_id)
    except UnknownSession:  # LiveKit has a room of that name which is not ours: there never was a session
        raise RoomNameTaken(session.room_name, NAME_QUARANTINE) from None
    if human.identity == session.user.identity:
        return user_token(request, session)
    return further_token(request, session, human)
