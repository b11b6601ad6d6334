"""POST /api/v1/sessions/{session_id}/ready: a service signals that it is ready, with the token of its invite."""

from __future__ import annotations

from aiohttp import web

from http_api.access.authentication import bearer
from http_api.app_keys import CLOCK, RECORDING, ROOMS, STORE
from http_api.errors import Forbidden, ServiceOut, SessionOver
from http_api.limits.rate_limits import count_invited
from http_api.models.responses import answer
from http_api.models.sessions import SayReady
from http_api.observability.logs.context import bind_session
from http_api.protocol.bodies import read_body
from http_api.replica import caught_up
from http_api.resources.ownership import state_of
from manager_agent.livekit.tokens import Joiner
from manager_agent.messages import Answer
from manager_agent.session.attempt import ServiceState
from manager_agent.session.events import Evidence, ServiceSignalled, Signal
from manager_agent.session.session import Session
from manager_agent.store.store import UnknownSession


async def say_ready(request: web.Request) -> web.Response:
    """Signal that a service is ready.

    The service authenticates with the join token of its invite. The signal takes effect even before the service has
    joined the room, which it must do within SERVICE_JOIN_TIMEOUT.
    """
    app, session_id = request.app, request.match_info["session_id"]
    joiner = app[ROOMS].tokens.joiner(bearer(request))
    await count_invited(request, joiner.identity)
    await caught_up(app)
    session = app[STORE].get(session_id)
    if joiner.room_name != session.room_name:
        raise UnknownSession(session_id)
    body = await read_body(request, SayReady)
    entry = invited_as(session, body.service_id, joiner)
    bind_session(request, session, service_id=body.service_id)
    signal = ServiceSignalled(app[CLOCK](), joiner.identity, Signal.READY, Evidence.HTTP)
    session = await app[STORE].update(session_id, signal)
    if session.over:
        raise SessionOver(*state_of(session))
    if (service := session.services[entry]).state is not ServiceState.READY:
        raise ServiceOut(service.service_id, service.state)
    await app[RECORDING].until_recorded(session_id)
    return answer(Answer(revision=session.revision))


def invited_as(session: Session, service_id: str, joiner: Joiner) -> int:
    """The index of the entry whose service was invited into this session with the joiner's identity. Raises Forbidden
    when there is none."""
    for entry, service in enumerate(session.services):
        if service.service_id == service_id and service.identity == joiner.identity:
            return entry
    raise Forbidden(f"the token does not belong to the current invite of {service_id!r} into this session")
