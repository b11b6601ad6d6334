"""What the log lines of a request are about: bound to every line that is logged for it, and to its last, the access
log's."""

from __future__ import annotations

import structlog
from aiohttp import web

from http_api import keys
from manager_agent.session import Session


def begin(request: web.Request, request_id: str) -> None:
    """A connection serves one request after the other in one task: what the last one was about is over."""
    request[keys.REQUEST_ID] = request_id
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id)


def speak_of(request: web.Request, session: Session, *, service_id: str | None = None) -> None:
    """From now on this request is about this session, and this service of it."""
    about = session.log_fields
    if service_id is not None:
        about["service_id"] = service_id
    request[keys.ABOUT] = about
    structlog.contextvars.bind_contextvars(**about)
