"""/api/v1/sessions/{session_id}/participants: further humans in the room of a session."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web

from http_api.app_keys import ROOMS
from http_api.errors import IdentityTaken, NoToken
from http_api.models.requests import AddParticipant
from http_api.models.responses import ParticipantView, answer
from http_api.observability.tracing.requests import giving_token
from http_api.protocol.bodies import read_body
from http_api.resources.ownership import own_session_of, state_of
from http_api.settings.settings import SETTINGS
from manager_agent.livekit.tokens import AccessToken
from manager_agent.messages import rfc3339
from manager_agent.session.session import GIVES_TOKENS, Session, User


async def add(request: web.Request) -> web.Response:
    """Lets a further human in.

    Gives a token for the session's room under another identity. Nothing of it is kept: who is there, LiveKit knows. The
    session lives as long as its own user is there, whoever else is.
    """
    app = request.app
    asked = await read_body(request, AddParticipant, grants=app[SETTINGS].user_grants)
    session, human = own_session_of(request), asked.human()
    if session.state not in GIVES_TOKENS:
        raise NoToken(*state_of(session))
    token = further_token(request, session, human)
    view = ParticipantView(
        identity=human.identity,
        name=human.name,
        room_name=session.room_name,
        server_url=app[SETTINGS].public_url,
        access_token=token.jwt,
        token_expires_at=rfc3339(token.expires_at),
    )
    return answer(view, HTTPStatus.CREATED)


def further_token(request: web.Request, session: Session, human: User) -> AccessToken:
    """A token for a further human in a session that gives tokens. Raises IdentityTaken: whoever joins under an identity
    that is in the room already takes the place of its holder."""
    theirs = human.identity
    if theirs == session.user.identity or session.entry_of(theirs) is not None or session.is_stale(theirs):
        raise IdentityTaken(theirs)
    with giving_token(request, session):
        return request.app[ROOMS].participant_token(session, human)
