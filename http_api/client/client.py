"""The calls of the API, each as a method."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any, Self, Unpack

from pydantic import TypeAdapter
from ulid import ULID

from http_api.client.calls import Calls, Reply, read
from http_api.client.errors import ApiError, Unreachable
from http_api.client.fields import ParticipantFields, ServiceFields, SessionFields
from http_api.models.responses import (
    Health,
    ParticipantView,
    Proven,
    ServiceList,
    ServiceView,
    SessionList,
    SessionView,
    SessionWithToken,
)
from http_api.models.timeline import TimelineView
from http_api.streams.models import FeedEvent, Forgotten, HealthView, ServiceGone, Snapshot, Told
from manager_agent.session.session import GIVES_TOKENS, SessionState

SESSIONS = ("api", "v1", "sessions")
SERVICES = ("api", "v1", "microservices")
FEED = ("api", "v1", "events")
WAIT = 20
"""Seconds for which the server is asked to hold an answer back: less than proxies allow."""
PAUSE = 0.25
"""Seconds before another stream of events, when the last one broke off."""
PAUSE_MAX = 8.0
"""The same, after one that had brought nothing but how everything is, again and again."""
TAKE_BACK_TIMEOUT = 2.0
PROOF_TIME = 15.0
"""Seconds more for a proof of health: a room is made for it."""
PAGE = "200"

SESSION: TypeAdapter[SessionView] = TypeAdapter(SessionWithToken | SessionView)
WITH_TOKEN = TypeAdapter(SessionWithToken)
PARTICIPANT = TypeAdapter(ParticipantView)
SESSION_LIST = TypeAdapter(SessionList)
SERVICE = TypeAdapter(ServiceView)
SERVICE_LIST = TypeAdapter(ServiceList)
HEALTH = TypeAdapter(Health)
PROVEN = TypeAdapter(Proven)
TIMELINE = TypeAdapter(TimelineView)
FEED_SHAPES: Mapping[str, TypeAdapter[Any]] = {
    FeedEvent.SNAPSHOT: TypeAdapter(Snapshot),
    FeedEvent.SESSION: TypeAdapter(SessionView),
    FeedEvent.FORGOTTEN: TypeAdapter(Forgotten),
    FeedEvent.SERVICE: TypeAdapter(ServiceView),
    FeedEvent.SERVICE_GONE: TypeAdapter(ServiceGone),
    FeedEvent.HEALTH: TypeAdapter(HealthView),
}
"""What each event of the feed is. One that is not here is a later version's, and left out."""


class Client:
    """A session manager, called over HTTP. It lives as long as its `async with`.

        async with Client("http://localhost:8080") as client:
            async with client.session(required_services=["asr-service"]) as s:
                join(s.server_url, s.access_token)

    Every method raises Problem when the answer is no, and Unreachable when none comes. What may pass by itself (nothing
    answers, 429 and 503 with `Retry-After`) is tried again, for `max_wait` seconds; 0: not at all. Each answer may
    take `timeout` seconds, and as long as it was asked to wait.
    """

    def __init__(
        self, url: str = "http://localhost:8080", api_key: str | None = None, *, timeout: float = 10.0,
        max_wait: float = 15.0,
    ) -> None:  # fmt: skip
        """Raises ValueError for a URL that is none."""
        self._calls = Calls(url, api_key, timeout=timeout, max_wait=max_wait)

    async def __aenter__(self) -> Self:
        await self._calls.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._calls.__aexit__()

    def __repr__(self) -> str:
        return f"<Client of {self._calls.url}>"

    # --- sessions -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def session(self, **fields: Unpack[SessionFields]) -> AsyncIterator[SessionWithToken]:
        """A session that is ready, ended on the way out. What can't be told that it is over then ends by its limits."""
        opened = await self.create(**fields)
        try:
            yield await self.until_ready(opened.session_id)
        finally:
            with suppress(ApiError, Unreachable):
                await self.close(opened.session_id)

    async def create(self, *, wait: int = 0, **fields: Unpack[SessionFields]) -> SessionView:
        """Asks for a session: as it is once its room is there, or ready, if that takes no more than `wait` seconds (60
        at most). Trying again never makes a second one. Who is cancelled meanwhile ends it."""
        prefer = f"wait={wait}" if wait else "respond-async"
        key = str(ULID())
        body = {"user_identity": f"user-{key.lower()}"} | _given(fields)
        headers = {"Prefer": prefer, "Idempotency-Key": key}
        asking = asyncio.create_task(self._calls.ask("POST", *SESSIONS, body=body, headers=headers, wait=wait))
        try:
            return (await asyncio.shield(asking)).read(SESSION)
        except asyncio.CancelledError:
            await self._take_back(asking)
            raise

    async def _take_back(self, asking: asyncio.Task[Reply]) -> None:
        """Ends the session that was asked for by somebody who is cancelled before he knows its id."""
        await asyncio.wait([asking], timeout=TAKE_BACK_TIMEOUT)
        asking.cancel()
        with suppress(ApiError, Unreachable, asyncio.CancelledError):
            await self.close((await asking).read(SESSION).session_id)

    async def get(self, session_id: str, *, known: SessionView | None = None, wait: int = 0) -> SessionView:
        """The session as it is; with its token while it is ready or active. With `wait`, of at most 60 seconds: once it
        is ready or over, or as it is when they have passed. With `known` as well: once it is not that any more."""
        headers = {"Prefer": f"wait={wait}"} if wait else {}
        if known is not None:
            headers["If-None-Match"] = f'"{known.revision}"'
        reply = await self._calls.ask("GET", *SESSIONS, session_id, headers=headers, wait=wait)
        if reply.status == HTTPStatus.NOT_MODIFIED and known is not None:
            return known
        return reply.read(SESSION)

    async def until_ready(self, session_id: str) -> SessionWithToken:
        """The session with its token, once it is ready: its `ready_timeout` bounds the wait. Raises the Problem of a
        session that is over before."""
        while True:
            session = await self.get(session_id, wait=WAIT)
            if session.ended_at is not None:
                raise ApiError.of_session(session)
            if session.state in GIVES_TOKENS:
                return session if isinstance(session, SessionWithToken) else await self.token(session_id)

    async def sessions(
        self, *, state: Iterable[SessionState | str] = (), service: str | None = None
    ) -> AsyncGenerator[SessionView, None]:
        """Every session that the caller may see, newest first; those in one of these states, with this service."""
        query: dict[str, str | list[str]] = {"limit": PAGE, "state": [str(one) for one in state]}
        if service is not None:
            query["service"] = service
        cursor: str | None = ""
        while cursor is not None:
            page = (await self._calls.ask("GET", *SESSIONS, query=query)).read(SESSION_LIST)
            for session in page.sessions:
                yield session
            cursor = page.next_cursor
            query["cursor"] = cursor or ""

    async def follow(self, session_id: str) -> AsyncGenerator[SessionView, None]:
        """The session as it is, then at each change, until nothing more can come. Connections that break are made
        anew."""
        seen, over, after = -1, False, ""
        while True:
            news = False
            async with self._calls.stream(*SESSIONS, session_id, "events", after=after) as events:
                if events is None:
                    return
                async for event in events:
                    after, session = event.id, read(event.data, SESSION, self._calls.url)
                    if session.revision > seen:
                        seen, over, news = session.revision, session.ended_at is not None, True
                        yield session
            if not news and over:
                return
            if not news:
                await asyncio.sleep(PAUSE)

    async def follow_all(self) -> AsyncGenerator[Told, None]:
        """Everything that the caller may see: a Snapshot, then each SessionView that is new or has changed, Forgotten
        when one can't be read any more, ServiceView and ServiceGone in the same way, the HealthView when it changes.
        Connections that break are made anew, which gives a Snapshot again; those that bring nothing else, more and more
        seldom."""
        fruitless = 0
        while True:
            told, retry = 0, 0.0
            async with self._calls.stream(*FEED) as events:
                if events is None:
                    return
                async for event in events:
                    retry = event.retry
                    if event.name in FEED_SHAPES:
                        told += 1
                        yield read(event.data, FEED_SHAPES[event.name], self._calls.url)
            fruitless = 0 if told > 1 else fruitless + 1
            await asyncio.sleep(pause_after(fruitless, retry))

    async def timeline(self, session_id: str) -> TimelineView:
        """What has become of it in the order of time: its steps, every attempt to get a service, who is awaited."""
        return (await self._calls.ask("GET", *SESSIONS, session_id, "timeline")).read(TIMELINE)

    async def close(self, session_id: str) -> SessionView:
        """Ends it; again: the same answer."""
        return (await self._calls.ask("DELETE", *SESSIONS, session_id)).read(SESSION)

    async def token(self, session_id: str) -> SessionWithToken:
        """With a fresh token."""
        return (await self._calls.ask("POST", *SESSIONS, session_id, "token")).read(WITH_TOKEN)

    async def add_participant(self, session_id: str, **fields: Unpack[ParticipantFields]) -> ParticipantView:
        """A token for a further human."""
        body = _given(fields)
        return (await self._calls.ask("POST", *SESSIONS, session_id, "participants", body=body)).read(PARTICIPANT)

    # --- services -----------------------------------------------------------------------------------

    async def services(self) -> list[ServiceView]:
        """All that are registered, by id."""
        return (await self._calls.ask("GET", *SERVICES)).read(SERVICE_LIST).services

    async def service(self, service_id: str) -> ServiceView:
        return (await self._calls.ask("GET", *SERVICES, service_id)).read(SERVICE)

    async def register(self, **fields: Unpack[ServiceFields]) -> ServiceView:
        """Registers a service, or replaces the one of that id."""
        return (await self._calls.ask("POST", *SERVICES, "register", body=_given(fields))).read(SERVICE)

    async def remove(self, service_id: str, *, endpoint: str | None = None) -> ServiceView:
        """Takes it out: only the instance at `endpoint`, if one is named."""
        return (await self._calls.ask("DELETE", *SERVICES, service_id, query=_instance(endpoint))).read(SERVICE)

    async def heartbeat(
        self, service_id: str, *, load: float | None = None, draining: bool | None = None, endpoint: str | None = None
    ) -> ServiceView:
        """Renews its lease. `load` is from 0 to 1."""
        body = _given({"load": load, "draining": draining})
        reply = await self._calls.ask("POST", *SERVICES, service_id, "heartbeat", body=body, query=_instance(endpoint))
        return reply.read(SERVICE)

    # --- the server itself --------------------------------------------------------------------------

    async def health(self) -> Health:
        """That it answers."""
        return (await self._calls.ask("GET", "health")).read(HEALTH)

    async def proof(self) -> Proven:
        """That a session can be had: one is, for a moment. Raises the Problem with the step that fails."""
        return (await self._calls.ask("GET", "health", query={"deep": "true"}, wait=PROOF_TIME)).read(PROVEN)


def pause_after(fruitless: int, retry: float) -> float:
    """Seconds before the next feed after so many that brought no more than a snapshot. The server asks to come back
    after `retry` seconds. PURE."""
    return min(PAUSE_MAX, max(PAUSE, retry) * 2.0 ** min(fruitless - 1, 10)) if fruitless else PAUSE


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _instance(endpoint: str | None) -> dict[str, str | list[str]]:
    return {} if endpoint is None else {"endpoint": endpoint}
