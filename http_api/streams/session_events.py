"""/api/v1/sessions/{session_id}/events: a session as it is, and again after each change, as server-sent events."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus

from aiohttp import web

from http_api.app_keys import STORE
from http_api.models.responses import SessionView
from http_api.resources.ownership import session_of
from http_api.streams.event_stream import EventStream, event_stream, head
from manager_agent.session.session import Session
from manager_agent.store.store import Store, UnknownSession


async def follow(request: web.Request) -> web.StreamResponse:
    """Follows a session as server-sent events.

    The first event is the session as it is, each further one the session after a change, the last one its end. `data`
    is the session as in a list, never with a token, and `id` its revision. Changes that follow each other faster than
    they can be sent are one event. Who comes back with `Last-Event-ID` is told only what is new to him: nothing before
    the next change, and 204 when the session is over and he has seen its end, which tells an EventSource to stop.
    """
    session, seen = session_of(request), request.headers.get("Last-Event-ID")
    if session.over and seen == str(session.revision):
        return web.Response(status=HTTPStatus.NO_CONTENT, headers={"Cache-Control": "no-store"})
    if request.method == "HEAD":
        return head()
    async with event_stream(request) as stream:
        with suppress(UnknownSession):  # it is forgotten
            await _tell(request.app[STORE], stream, session.session_id, seen)
    return stream.response


async def _tell(store: Store, stream: EventStream, session_id: str, seen: str | None) -> None:
    """Sends the session whenever it is another than was seen, until it is over. Raises ConnectionError when the reader
    is gone or does not keep up, and UnknownSession."""
    over = False
    while not over:
        session = await store.wait_for(session_id, _other_than(seen))
        seen, over = str(session.revision), session.over
        await stream.send(SessionView.of(session).model_dump_json(), id=seen)
    await stream.end()


def _other_than(seen: str | None) -> Callable[[Session], bool]:
    return lambda session: str(session.revision) != seen
