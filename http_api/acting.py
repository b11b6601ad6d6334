"""Whether this process may change anything: another one of its deployment may have taken over."""

from __future__ import annotations

from aiohttp import web

from http_api.access.principals import Permission
from http_api.app_keys import ACTING, ROOMS
from http_api.operations import Operation
from manager_agent.not_acting import NotActing


async def refuse_unless_acting(request: web.Request, operation: Operation) -> None:
    """Hold what would change anything until this process may act. Raises NotActing."""
    if not operation.changes or (acting := request.app[ACTING]).may_act:
        return
    is_refused_anyway = operation.creates and request.app[ROOMS].is_away
    if not is_refused_anyway and await acting.held():
        return
    if acting.is_superseded or not _may_go_on_without_livekit(operation):
        raise NotActing(acting.why_not)


def _may_go_on_without_livekit(operation: Operation) -> bool:
    """Services are not in LiveKit. What creates a session finds out itself, and says so in its own words."""
    return operation.creates or operation.access is Permission.SERVICES


def close_unless_acting(request: web.Request, response: web.StreamResponse) -> None:
    """The client's next request takes a new connection, which may lead to the process that acts."""
    if not request.app[ACTING].may_act:
        response.force_close()
        response.headers["Connection"] = "close"
