"""The API as a class: one method per operation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any, Self, Unpack
from uuid import uuid4

from pydantic import TypeAdapter

from session_manager_client.calls import Calls, Reply
from session_manager_client.errors import ApiError, Unreachable
from session_manager_client.event_streams import SESSION, follow, follow_all
from session_manager_client.fields import ParticipantFields, ServiceFields, SessionFields
from session_manager_client.models import (
    DrainingReplica,
    FeedItem,
    HealthProof,
    ParticipantAccess,
    ReadySession,
    RegisteredServiceInfo,
    ServerHealth,
    ServiceInfo,
    ServiceListing,
    SessionInfo,
    SessionPage,
    TimelineInfo,
)
from session_manager_client.proxies import ProxyOf, environment_proxy

SESSIONS = ("api", "v1", "sessions")
SERVICES = ("api", "v1", "microservices")
FEED = ("api", "v1", "events")
REPLICAS = ("api", "v1", "replicas")
WAIT = 20
"""Seconds that the server is asked to hold a response: less than the usual timeouts of proxies."""
PAUSE = 0.25
"""Seconds between two such requests: a server that is stopping holds none."""
TAKE_BACK_TIMEOUT = 2.0
PROOF_TIME = 15.0
"""Extra seconds for a deep health check, which creates a room."""
PAGE = "200"
GIVES_TOKENS = frozenset({"ready", "active"})
"""The states of a session in which its user may have a token."""

WITH_TOKEN = TypeAdapter(ReadySession)
PARTICIPANT = TypeAdapter(ParticipantAccess)
SESSION_LIST = TypeAdapter(SessionPage)
SERVICE = TypeAdapter(ServiceInfo)
REGISTERED = TypeAdapter(RegisteredServiceInfo)
SERVICE_LIST = TypeAdapter(ServiceListing)
HEALTH = TypeAdapter(ServerHealth)
DRAINING = TypeAdapter(DrainingReplica)
PROVEN = TypeAdapter(HealthProof)
TIMELINE = TypeAdapter(TimelineInfo)


class Client:
    """An HTTP client of the session manager, used with `async with`.

        async with Client("http://localhost:8080") as client:
            async with client.session(required_services=["asr-service"]) as s:
                join(s.server_url, s.access_token)

    Every method raises ApiError for an error response and Unreachable if there is no response. Temporary errors (no
    response, 429 or 503 with `Retry-After`) are retried for `max_wait` seconds; 0 disables retries. Each response may
    take `timeout` seconds, plus the seconds that the server was asked to wait. `proxy` returns the URL of the proxy for
    a URL, None for none.
    """

    def __init__(
        self, url: str = "http://localhost:8080", api_key: str | None = None, *, timeout: float = 10.0,
        max_wait: float = 15.0, proxy: ProxyOf = environment_proxy,
    ) -> None:  # fmt: skip
        """Raises ValueError for an invalid URL."""
        self._calls = Calls(url, api_key, timeout=timeout, max_wait=max_wait, proxy=proxy)

    async def __aenter__(self) -> Self:
        await self._calls.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._calls.__aexit__()

    def __repr__(self) -> str:
        return f"<Client of {self._calls.url}>"

    # --- sessions -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def session(self, **fields: Unpack[SessionFields]) -> AsyncIterator[ReadySession]:
        """A ready session, closed on exit. If it can't be closed, its own limits end it."""
        opened = await self.create(**fields)
        try:
            yield await self.until_ready(opened.session_id)
        finally:
            with suppress(ApiError, Unreachable):
                await self.close(opened.session_id)

    async def create(self, *, wait: int = 0, **fields: Unpack[SessionFields]) -> SessionInfo:
        """Create a session. Returns once its room exists; with `wait` once it is ready, or after that many seconds (at
        most 60).

        Retries never create a second session. Cancelling the call ends the session.
        """
        prefer = f"wait={wait}" if wait else "respond-async"
        key = uuid4().hex
        body = {"user_identity": f"user-{key}"} | _given(fields)
        headers = {"Prefer": prefer, "Idempotency-Key": key}
        asking = asyncio.create_task(self._calls.ask("POST", *SESSIONS, body=body, headers=headers, wait=wait))
        try:
            return (await asyncio.shield(asking)).read(SESSION)
        except asyncio.CancelledError:
            await self._take_back(asking)
            raise

    async def _take_back(self, asking: asyncio.Task[Reply]) -> None:
        """Close the session of a cancelled create(), whose id the caller never learns."""
        try:
            await asyncio.wait([asking], timeout=TAKE_BACK_TIMEOUT)
        finally:  # the caller may be cancelled again
            asking.cancel()
        with suppress(ApiError, Unreachable, asyncio.CancelledError):
            await self.close((await asking).read(SESSION).session_id)

    async def get(self, session_id: str, *, known: SessionInfo | None = None, wait: int = 0) -> SessionInfo:
        """The session's current state, with its token while it is ready or active.

        With `wait` (up to 60 seconds): return once it is ready or over, or after that time. With `known` too: return as
        soon as it differs from `known`, or `known` itself.
        """
        headers = {"Prefer": f"wait={wait}"} if wait else {}
        if known is not None:
            headers["If-None-Match"] = f'"{known.revision}"'
        reply = await self._calls.ask("GET", *SESSIONS, session_id, headers=headers, wait=wait)
        if reply.status == HTTPStatus.NOT_MODIFIED and known is not None:
            return known
        return reply.read(SESSION)

    async def until_ready(self, session_id: str) -> ReadySession:
        """Wait until the session is ready; returns it with its token. The session's `ready_timeout` bounds the wait.
        Raises ApiError if it ends first."""
        while True:
            session = await self.get(session_id, wait=WAIT)
            if session.ended_at is not None:
                raise ApiError.of_session(session)
            if session.state in GIVES_TOKENS:
                return session if isinstance(session, ReadySession) else await self.token(session_id)
            await asyncio.sleep(PAUSE)

    async def sessions(
        self, *, state: Iterable[str] = (), service: str | None = None
    ) -> AsyncGenerator[SessionInfo, None]:
        """The sessions visible to the caller, newest first; only those in one of these states, with this service."""
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

    def follow(self, session_id: str) -> AsyncGenerator[SessionInfo, None]:
        """Yield the session's current state, then each change until it is over. Reconnects when a connection
        breaks."""
        return follow(self._calls, *SESSIONS, session_id, "events")

    def follow_all(self) -> AsyncGenerator[FeedItem, None]:
        """Yield everything visible to the caller: a FeedSnapshot, then each new or changed SessionInfo,
        ForgottenSession when one is dropped, likewise ServiceInfo and RemovedService, and FeedHealth when it changes.

        Reconnects when a connection breaks, which yields a FeedSnapshot again. After connections that brought nothing
        else the pause grows.
        """
        return follow_all(self._calls, *FEED)

    async def timeline(self, session_id: str) -> TimelineInfo:
        """The session's history: its steps, every attempt to get each service, and what is still awaited."""
        return (await self._calls.ask("GET", *SESSIONS, session_id, "timeline")).read(TIMELINE)

    async def close(self, session_id: str) -> SessionInfo:
        """End the session. Closing it again returns the same response."""
        return (await self._calls.ask("DELETE", *SESSIONS, session_id)).read(SESSION)

    async def token(self, session_id: str) -> ReadySession:
        """The session with a fresh token."""
        return (await self._calls.ask("POST", *SESSIONS, session_id, "token")).read(WITH_TOKEN)

    async def add_participant(self, session_id: str, **fields: Unpack[ParticipantFields]) -> ParticipantAccess:
        """A token for an additional human participant."""
        body = _given(fields)
        return (await self._calls.ask("POST", *SESSIONS, session_id, "participants", body=body)).read(PARTICIPANT)

    # --- services -----------------------------------------------------------------------------------

    async def services(self) -> list[ServiceInfo]:
        """All registered services, sorted by id."""
        return (await self._calls.ask("GET", *SERVICES)).read(SERVICE_LIST).services

    async def service(self, service_id: str) -> ServiceInfo:
        """One registered service."""
        return (await self._calls.ask("GET", *SERVICES, service_id)).read(SERVICE)

    async def register(self, **fields: Unpack[ServiceFields]) -> RegisteredServiceInfo:
        """Register a service, replacing the one with the same id. See its `warning`."""
        return (await self._calls.ask("POST", *SERVICES, "register", body=_given(fields))).read(REGISTERED)

    async def remove(self, service_id: str, *, endpoint: str | None = None) -> ServiceInfo:
        """Remove a service; with `endpoint`, only if the instance at that address is the registered one."""
        return (await self._calls.ask("DELETE", *SERVICES, service_id, query=_instance(endpoint))).read(SERVICE)

    async def heartbeat(
        self, service_id: str, *, load: float | None = None, draining: bool | None = None, endpoint: str | None = None
    ) -> ServiceInfo:
        """Renew the service's lease. `load` is from 0 to 1."""
        body = _given({"load": load, "draining": draining})
        reply = await self._calls.ask("POST", *SERVICES, service_id, "heartbeat", body=body, query=_instance(endpoint))
        return reply.read(SERVICE)

    # --- the server itself --------------------------------------------------------------------------

    async def health(self) -> ServerHealth:
        """A shallow health check: the server answers."""
        return (await self._calls.ask("GET", "health")).read(HEALTH)

    async def drain(self) -> DrainingReplica:
        """Let the replica that answers hand its sessions over. Watch `health()` for how many it still has."""
        return (await self._calls.ask("POST", *REPLICAS, "drain")).read(DRAINING)

    async def proof(self) -> HealthProof:
        """A deep health check: create a test session. Raises ApiError naming the step that failed."""
        return (await self._calls.ask("GET", "health", query={"deep": "true"}, wait=PROOF_TIME)).read(PROVEN)


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _instance(endpoint: str | None) -> dict[str, str | list[str]]:
    return {} if endpoint is None else {"endpoint": endpoint}
