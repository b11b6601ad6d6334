"""POST /api/v1/token: the token endpoint for LiveKit's client SDKs (`TokenSource.endpoint(url)`)."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web

from http_api.access.principals import Principal
from http_api.app_keys import CLOCK, RECOVERY, REGISTRY, STORE
from http_api.errors import Forbidden, Recovering
from http_api.limits.key_marks import RequestMark, request_mark
from http_api.models.required_services import PROFILES
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
from http_api.resources.ownership import refuse_too_long, refuse_unrecovered_name, token_giver, user_token
from http_api.resources.participants import further_token, refuse_taken_identity
from http_api.resources.session_requests import SESSION_REQUESTS
from http_api.settings.settings import SETTINGS
from manager_agent.frozen import replace
from manager_agent.json_object import JsonObject
from manager_agent.livekit.tokens import AccessToken
from manager_agent.session.events import TokenGiven
from manager_agent.session.plan import NAME_QUARANTINE
from manager_agent.session.session import Session, User
from manager_agent.session.specification import Specification
from manager_agent.session.transitions import apply
from manager_agent.store.store import RoomNameTaken, Store, UnknownSession
from manager_agent.ulids import new_ulid

PATH = "/api/v1/token"
SERVICES_SHARE = 0.5
"""The share of READY_TIMEOUT that the services have in any case. The request may wait for the name of its room for as
long as READY_TIMEOUT, and takes at most one and a half of it: SDKs can't say how long they wait, and proxies end it."""


async def give(request: web.Request) -> web.Response:
    """Create a token for LiveKit's TokenSource.

    Create a session, and respond with a token once the session is ready. Each `room_config.agents[].agent_name` is a
    service id, else a type, else a profile, else the `agent_name` of a registered service; without agents the default
    profile is used. An agent's `metadata` is passed on in the invites as `session.metadata.agents.<agent_name>`. Names
    may be in camelCase. Missing names are generated. Other fields of `room_config` are rejected unless they have their
    default values; unknown fields beside it are ignored.

    If the caller already has a session in the room, its user gets another token with the session's own settings, and
    any other identity joins as an additional participant; while a service is being replaced, both wait. If the room
    name is still reserved by tokens of an earlier session, the request waits for it too, up to READY_TIMEOUT; the
    services have the rest, and half of READY_TIMEOUT in any case. A user authenticated by the caller's issuer
    (JWKS_URL) gets tokens only for that user's own identity, and enters a room that another user opened only if both
    users' JWTs list the room in the claim JWKS_ROOMS_CLAIM.

    If the client disconnects while waiting, a session whose room name was generated is kept for 10 seconds, in which
    the same request of the same caller finds it, and then ends. The same request with an identity also finds it while
    the first one still waits. If the server is killed meanwhile, the same request finds it after the restart. A session
    whose room name was given continues: a reloaded page joins it, and if none does, it ends at the join timeout.
    """
    app, principal = request.app, request[PRINCIPAL]
    asked = await read_body(request, TokenRequest) if request.can_read_body else TokenRequest()
    human = _human(asked, principal, app[CLOCK]())
    session_requests = app[SESSION_REQUESTS]
    refuse_unrecovered_name(request, asked.room_name)
    tenant, ready_timeout = _tenant(principal, asked.room_name), app[SETTINGS].ready_timeout
    waited = await session_requests.wait_for_name(asked.room_name, tenant, ready_timeout)
    ready_timeout = max(ready_timeout - waited, ready_timeout * SERVICES_SHARE)
    # Of two simultaneous requests for one room, the second finds the session of the first: there is no await between
    # the last lookup and opening the session.
    session = _live_session(app[STORE], asked.room_name, principal)
    if session is None:
        await session_requests.check_livekit()
        session = _live_session(app[STORE], asked.room_name, principal)
    if session is not None:
        token = await _let_in(request, session, human)
    elif (earlier := await _earlier_session(request, asked)) is not None:
        token = await _take_up(request, earlier, asked)
    else:
        token = await _open(request, asked, human, ready_timeout)
    view = TokenResponse(server_url=app[SETTINGS].public_url, participant_token=token.jwt)
    return answer(view, HTTPStatus.CREATED)


def _human(asked: TokenRequest, principal: Principal, now: float) -> User:
    """The participant to give a token to. Raises Forbidden."""
    if principal.identity is not None and asked.participant_identity not in (None, principal.identity):
        raise Forbidden("you can get tokens only for your own identity")
    return User(
        identity=asked.participant_identity or principal.identity or f"user-{new_ulid(now).lower()}",
        name=asked.participant_name or "",
        attributes=asked.participant_attributes or {},
        metadata=asked.participant_metadata or "",
    )


def _tenant(principal: Principal, room_name: str | None) -> str:
    """Whose name the room's name is: the caller's, or that of the group with which the caller shares the room."""
    return principal.group_in(room_name or "") or principal.name


def _live_session(store: Store, room_name: str | None, principal: Principal) -> Session | None:
    """The caller's live session in this room, if any. Raises RoomNameTaken when it belongs to another caller."""
    session = store.in_room(room_name) if room_name is not None else None
    if session is None or session.over:
        return None
    if not principal.may_enter(session.owner, session.shared_with, session.room_name):
        raise RoomNameTaken(session.room_name, NAME_QUARANTINE)
    return session


async def _open(request: web.Request, asked: TokenRequest, human: User, ready_timeout: float) -> AccessToken:
    """Open a session for this user, which has so many seconds to become ready. Returns the token once it is. Raises the
    same errors as POST /sessions."""
    app, session_requests = request.app, request.app[SESSION_REQUESTS]
    default = app[SETTINGS].default_profile or DEFAULT_PROFILE
    names = [agent.agent_name for agent in asked.agents if agent.agent_name]
    known = app[PROFILES], app[REGISTRY].named(names, request[PRINCIPAL].name), default
    session = session_requests.build(
        human,
        requirements_of(asked.agents, *known),
        owner=request[PRINCIPAL].name,
        shared_with=request[PRINCIPAL].group_in(asked.room_name or ""),
        room_name=asked.room_name,
        trace=request.get(TRACE),
        metadata=JsonObject.of(metadata_of(asked.agents, default)),
        profile=profile_of(asked.agents, *known),
        callback_url=session_requests.callback_urls.get(request[PRINCIPAL].group),
        ready_timeout=ready_timeout,
    )
    mark = _mark(request, asked)
    session = session_requests.awaiting_guests(replace(session, session_id=mark.session_id(session.session_id)))
    refuse_too_long(request, session)
    bind_session(request, session)

    async def give(ready: Session) -> AccessToken:
        return await user_token(request, await token_giver(request, ready.session_id))

    return await session_requests.open(session, give, ends_with_its_client=asked.room_name is None, request=mark)


async def _earlier_session(request: web.Request, asked: TokenRequest) -> Session | None:
    """The session without a room name of the client's that an earlier request like this one opened, if this client may
    have it. Raises Recovering, RedisAway."""
    if asked.room_name is not None:
        return None
    repeated, mark = request.app[SESSION_REQUESTS].repeated, _mark(request, asked)
    is_of_one_user = _is_of_one_user(request[PRINCIPAL], asked)
    found = repeated.awaited(mark) if is_of_one_user else None
    found = found or await repeated.take_abandoned(mark) or repeated.take_left(mark)
    found = found or await repeated.take_elsewhere(mark, is_of_one_user=is_of_one_user)
    if found is None and request.app[RECOVERY].may_find(lambda room: RequestMark.of_session(room.session_id) == mark):
        raise Recovering
    return found


def _is_of_one_user(principal: Principal, asked: TokenRequest) -> bool:
    """Whether all requests like this one are of the same user. A caller may ask for many users who have no identity."""
    return principal.identity is not None or asked.participant_identity is not None


async def _take_up(request: web.Request, session: Session, asked: TokenRequest) -> AccessToken:
    """The token of a session that an earlier request like this one opened, once it is ready. Raises what until_ready
    raises."""
    app = request.app
    bind_session(request, session)

    async def give(ready: Session) -> AccessToken:
        await app[STORE].update(ready.session_id, TokenGiven(app[CLOCK](), ready.user.identity))
        return await user_token(request, await token_giver(request, ready.session_id))

    return await app[SESSION_REQUESTS].until_ready(session.session_id, give, request=_mark(request, asked))


def _mark(request: web.Request, asked: TokenRequest) -> RequestMark:
    principal, secret = request[PRINCIPAL], request.app[SETTINGS].livekit_api_secret.get_secret_value()
    return request_mark(secret, principal.name, principal.identity, asked.model_dump_json())


async def _let_in(request: web.Request, session: Session, human: User) -> AccessToken:
    """A token for a running session, once it is ready. Raises IdentityTaken, SpecificationTooLong, and what until_ready
    raises when the session is over by then."""
    app = request.app
    bind_session(request, session)

    async def give(ready: Session) -> AccessToken:
        if human.identity != ready.user.identity:
            refuse_taken_identity(ready, human.identity)
        given = TokenGiven(app[CLOCK](), human.identity)
        Specification.of(apply(ready, given)).text()  # a guest who could not be recorded is refused
        await app[STORE].update(ready.session_id, given)
        latest = await token_giver(request, ready.session_id)
        if human.identity == latest.user.identity:
            return await user_token(request, latest)
        return await further_token(request, latest, human)

    try:
        return await app[SESSION_REQUESTS].until_ready(session.session_id, give)
    except UnknownSession:  # LiveKit has a foreign room of that name, so the session was never created
        raise RoomNameTaken(session.room_name, NAME_QUARANTINE) from None
