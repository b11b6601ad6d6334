"""/api/v1/events: the feed of all sessions and services that the caller may see, as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from itertools import chain, islice

from aiohttp import web

from http_api.access.principals import Principal
from http_api.app_keys import STORE
from http_api.models.required_services import PROFILES, Profiles
from http_api.request_context import PRINCIPAL
from http_api.streams.event_stream import EventStream, head
from http_api.streams.models import CallerView, FeedEvent, Forgotten, ServiceGone, Snapshot
from http_api.streams.subscribers import FEED, FeedReaders, Reader
from manager_agent.session.session import Session

PATH = "/api/v1/events"
SNAPSHOT_SESSIONS = 1_000
"""The maximum number of sessions in a snapshot."""
SNAPSHOT_CHARACTERS = 4 * 1024 * 1024
"""The approximate maximum length of their JSON: sessions with much metadata are fewer."""
SESSIONS_AT_ONCE = 16
"""The number of sessions of a snapshot rendered before yielding to the event loop."""


async def follow(request: web.Request) -> web.StreamResponse:
    """Follow all sessions and services.

    A stream of server-sent events with everything that the caller may see. The first event is a `snapshot`. After it
    come `session` for each session that is new or has changed, `forgotten` for one that can no longer be read,
    `service` for each service that is new or has changed, `service_gone` for one that is no longer registered, and
    `health` when LiveKit becomes unavailable or available again. Services are checked once per second; values that
    change with every heartbeat are sent at most every 5 seconds. Changes that follow one another faster than they can
    be sent are combined into one event. Events have no ids: a client that reconnects gets a new snapshot.
    """
    if request.method == "HEAD":
        return head()
    async with EventStream(request) as stream:
        await stream.send_retry()
        await _tell(request, stream)
    return stream.response


async def _tell(request: web.Request, stream: EventStream) -> None:
    """Send the snapshot and then all news, until the process stops or the client is behind."""
    app, readers = request.app, request.app[FEED]
    with readers.reading(request[PRINCIPAL]) as reader:
        await stream.send_in_parts(FeedEvent.SNAPSHOT, _snapshot(readers, reader, app[STORE].list(), app[PROFILES]))
        while reader.has_news or not readers.is_over:
            await reader.wait()
            if reader.is_behind:
                break
            await _tell_news(readers, reader, stream)


async def _tell_news(readers: FeedReaders, reader: Reader, stream: EventStream) -> None:
    news = reader.take()
    for session_id in news.sessions:
        reader.knows(session_id)
        session = readers.session(session_id)
        if session is None:
            await stream.send(Forgotten(session_id=session_id).model_dump_json(), event=FeedEvent.FORGOTTEN)
        else:
            await stream.send(session, event=FeedEvent.SESSION)
        await asyncio.sleep(0)  # sending never blocks while the client keeps up: yield to the event loop
    for service_id in news.services:
        reader.knows_service(service_id)
        service = readers.services.of(service_id, reader.principal)
        if service is None:
            await stream.send(ServiceGone(service_id=service_id).model_dump_json(), event=FeedEvent.SERVICE_GONE)
        else:
            await stream.send(service, event=FeedEvent.SERVICE)
        await asyncio.sleep(0)
    if news.health:
        await stream.send(readers.health().model_dump_json(), event=FeedEvent.HEALTH)


def _snapshot(readers: FeedReaders, reader: Reader, sessions: Iterable[Session], profiles: Profiles) -> Iterator[str]:
    """The JSON of a Snapshot, rendered in parts. Changes made meanwhile are sent after it."""
    yield '{"sessions":['
    yield from _sessions(readers, reader, newest(sessions, reader.principal))
    snapshot = Snapshot(
        sessions=[],
        services=None,
        health=readers.health(),
        profiles=sorted(profiles),
        caller=CallerView.of(reader.principal),
    )
    reader.knows_services()
    services = f"[{','.join(readers.services.all(reader.principal))}]" if reader.sees_services else "null"
    yield f'],"services":{services},' + snapshot.model_dump_json(exclude={"sessions", "services"})[1:]


def _sessions(readers: FeedReaders, reader: Reader, session_ids: Iterable[str]) -> Iterator[str]:
    """The JSON of as many of these sessions as fit, separated by commas."""
    begun, left, made = False, SNAPSHOT_CHARACTERS, list[str]()
    for session_id in session_ids:
        reader.knows(session_id)
        session = readers.session(session_id)
        if session is None:
            continue
        made.append(session)
        left -= len(session)
        if len(made) == SESSIONS_AT_ONCE or left < 0:
            yield "," * begun + ",".join(made)
            begun, made = True, []
        if left < 0:
            return
    if made:
        yield "," * begun + ",".join(made)


def newest(sessions: Iterable[Session], principal: Principal) -> list[str]:
    """The ids of at most SNAPSHOT_SESSIONS sessions that the caller may see: live ones, then those that are over, each
    newest first. `sessions`: oldest first. PURE."""
    live, over = list[str](), list[str]()
    for session in sessions:
        if principal.sees(session.owner):
            (over if session.over else live).append(session.session_id)
    return list(islice(chain(reversed(live), reversed(over)), SNAPSHOT_SESSIONS))
