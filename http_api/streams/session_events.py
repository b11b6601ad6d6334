"""/api/v1/sessions/{session_id}/events: a session now and after each change, as server-sent events."""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus

from aiohttp import web

from http_api.app_keys import STORE
from http_api.models.rendered import RENDERED_SESSIONS, RenderedSessions
from http_api.resources.ownership import session_of
from http_api.stopping import STOPPING, TimeLimits
from http_api.streams.event_stream import EventStream, head
from manager_agent.not_acting import NotActing
from manager_agent.session.session import Session
from manager_agent.store.store import Store, UnknownSession


async def follow(request: web.Request) -> web.StreamResponse:
    """Follow a session.

    A stream of server-sent events: the session now, after each change, and finally when it is over. `data` is the
    session, without a token, and `id` its revision. Changes that follow one another faster than they can be sent are
    combined into one event. A client that reconnects with `Last-Event-ID` gets only what is new: no event before the
    next change, and 204 if it already has the session's final revision, which tells an EventSource to stop.
    """
    session, seen = session_of(request), request.headers.get("Last-Event-ID")
    if session.over and seen == str(session.revision):
        return web.Response(status=HTTPStatus.NO_CONTENT, headers={"Cache-Control": "no-store"})
    if request.method == "HEAD":
        return head()
    limits = request.app[STOPPING].polls
    async with EventStream(request) as stream:
        await stream.send_retry()
        await _tell(request.app[STORE], request.app[RENDERED_SESSIONS], limits, session.session_id, seen, stream)
    return stream.response


async def _tell(
    store: Store,
    rendered: RenderedSessions,
    limits: TimeLimits,
    session_id: str,
    seen: str | None,
    stream: EventStream,
) -> None:
    """Send the session whenever its revision differs from the one last seen, until it is over or `limits` are reached.
    Raises ConnectionError when the client is gone or does not keep up."""
    over = False

    def is_wanted(session: Session) -> bool:
        return str(session.revision) != seen or limits.is_reached

    with suppress(UnknownSession, NotActing):  # no longer stored, or another process's
        while not over:
            session = await store.wait_for(session_id, is_wanted)
            if str(session.revision) == seen:
                break
            seen, over = str(session.revision), session.over
            await stream.send(rendered.of(session), id=seen)
