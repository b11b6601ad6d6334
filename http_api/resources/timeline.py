"""/api/v1/sessions/{session_id}/timeline: a session's steps and attempts in order of time, and its log entries."""

from __future__ import annotations

from aiohttp import web

from http_api.access.principals import Scope
from http_api.app_keys import CLOCK
from http_api.models.responses import answer
from http_api.models.timeline import TimelineView
from http_api.observability.logs.recent import RECENT_LOGS
from http_api.request_context import PRINCIPAL
from http_api.resources.ownership import session_of


async def show(request: web.Request) -> web.Response:
    """Get a session's timeline.

    The steps of the session in order of time; every attempt to get each service, with the reason of those that failed;
    which services are awaited, since when and until when. With scope `admin` also the last 200 log entries about the
    session.
    """
    session, app = session_of(request), request.app
    is_admin = Scope.ADMIN in request[PRINCIPAL].scopes
    log = app[RECENT_LOGS].of(session.session_id) if is_admin else None
    return answer(TimelineView.of(session, app[CLOCK](), log))
