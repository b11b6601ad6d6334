"""/api/v1/sessions/{session_id}/events: a session now and after each change, as server-sent events."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web

from http_api.resources.ownership import session_of
from http_api.streams.event_stream import EventStream, head
from http_api.streams.followers import FOLLOWERS


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
    async with EventStream(request) as stream:
        await stream.send_retry()
        await request.app[FOLLOWERS].follow(stream, session.session_id, seen)
    return stream.response
