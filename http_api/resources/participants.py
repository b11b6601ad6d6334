"""/api/v1/sessions/{session_id}/participants: additional human participants of a session."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web

from http_api.app_keys import CLOCK, RECORDS, ROOMS
from http_api.errors import IdentityTaken, NoToken
from http_api.models.responses import ParticipantView, answer
from http_api.models.sessions import AddParticipant
from http_api.observability.tracing.requests import record_token
from http_api.protocol.bodies import read_body
from http_api.resources.ownership import own_session_of, state_of, token_giver
from http_api.settings.settings import SETTINGS
from manager_agent.livekit.tokens import AccessToken
from manager_agent.messages import rfc3339
from manager_agent.session.session import GIVES_TOKENS, Session, User


async def add(request: web.Request) -> web.Response:
    """Add a participant.

    Create a token for the session's room with another identity. The participant is not stored: LiveKit knows who is in
    the room. The session lasts only as long as its own user stays, no matter who else is in the room.
    """
    app = request.app
    asked = await read_body(request, AddParticipant, grants=app[SETTINGS].user_grants)
    session, human = own_session_of(request), asked.human()
    if session.state not in GIVES_TOKENS:
        raise NoToken(*state_of(session))
    session = await token_giver(request, session.session_id)
    token = await further_token(request, session, human)
    view = ParticipantView(
        identity=human.identity,
        name=human.name,
        room_name=session.room_name,
        server_url=app[SETTINGS].public_url,
        access_token=token.jwt,
        token_expires_at=rfc3339(token.expires_at),
    )
    return answer(view, HTTPStatus.CREATED)


async def further_token(request: web.Request, session: Session, human: User) -> AccessToken:
    """A token for another human participant of a session from `token_giver`, once it is recorded that it reserves the
    room's name. Raises IdentityTaken, NotActing."""
    refuse_taken_identity(session, human.identity)
    app = request.app
    now = app[CLOCK]()
    token = app[ROOMS].tokens.for_human(session, human, now)
    record_token(request, session, begun=now)
    await app[RECORDS].committed()
    return token


def refuse_taken_identity(session: Session, identity: str) -> None:
    """Raise IdentityTaken for an identity of the session's own user or services: LiveKit disconnects a participant when
    another one joins with the same identity."""
    if identity == session.user.identity or session.entry_of(identity) is not None or session.is_stale(identity):
        raise IdentityTaken(identity)
