"""Client for programs without asyncio: each method runs Client's on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar, Unpack

from session_manager_client.client import Client
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
    SessionInfo,
    TimelineInfo,
)
from session_manager_client.proxies import ProxyOf, environment_proxy

T = TypeVar("T")


class SyncClient:
    """An HTTP client of the session manager, used with `with`. See the methods of Client.

        with SyncClient("http://localhost:8080") as client:
            with client.session(required_services=["asr-service"]) as s:
                join(s.server_url, s.access_token)

    Threads may share it. Processes may not: one that forks makes its client afterwards.
    """

    def __init__(
        self, url: str = "http://localhost:8080", api_key: str | None = None, *, timeout: float = 10.0,
        max_wait: float = 15.0, proxy: ProxyOf = environment_proxy,
    ) -> None:  # fmt: skip
        """Raises ValueError for an invalid URL."""
        self._client = Client(url, api_key, timeout=timeout, max_wait=max_wait, proxy=proxy)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="session-manager-client", daemon=True)
        self._thread.start()
        self._run(self._client.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._thread is not None
        self._run(self._client.__aexit__())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None

    def __repr__(self) -> str:
        return f"<Sync{repr(self._client)[1:]}"

    # --- sessions -----------------------------------------------------------------------------------

    @contextmanager
    def session(self, **fields: Unpack[SessionFields]) -> Iterator[ReadySession]:
        block = self._client.session(**fields)
        entered = self._run(block.__aenter__())
        try:
            yield entered
        finally:
            self._run(block.__aexit__(None, None, None))

    def create(self, *, wait: int = 0, **fields: Unpack[SessionFields]) -> SessionInfo:
        return self._run(self._client.create(wait=wait, **fields))

    def get(self, session_id: str, *, known: SessionInfo | None = None, wait: int = 0) -> SessionInfo:
        return self._run(self._client.get(session_id, known=known, wait=wait))

    def until_ready(self, session_id: str) -> ReadySession:
        return self._run(self._client.until_ready(session_id))

    def sessions(self, *, state: Iterable[str] = (), service: str | None = None) -> Generator[SessionInfo, None, None]:
        return self._each(self._client.sessions(state=state, service=service))

    def follow(self, session_id: str) -> Generator[SessionInfo, None, None]:
        return self._each(self._client.follow(session_id))

    def follow_all(self) -> Generator[FeedItem, None, None]:
        return self._each(self._client.follow_all())

    def timeline(self, session_id: str) -> TimelineInfo:
        return self._run(self._client.timeline(session_id))

    def close(self, session_id: str) -> SessionInfo:
        return self._run(self._client.close(session_id))

    def token(self, session_id: str) -> ReadySession:
        return self._run(self._client.token(session_id))

    def add_participant(self, session_id: str, **fields: Unpack[ParticipantFields]) -> ParticipantAccess:
        return self._run(self._client.add_participant(session_id, **fields))

    # --- services -----------------------------------------------------------------------------------

    def services(self) -> list[ServiceInfo]:
        return self._run(self._client.services())

    def service(self, service_id: str) -> ServiceInfo:
        return self._run(self._client.service(service_id))

    def register(self, **fields: Unpack[ServiceFields]) -> RegisteredServiceInfo:
        return self._run(self._client.register(**fields))

    def remove(self, service_id: str, *, endpoint: str | None = None) -> ServiceInfo:
        return self._run(self._client.remove(service_id, endpoint=endpoint))

    def heartbeat(
        self, service_id: str, *, load: float | None = None, draining: bool | None = None, endpoint: str | None = None
    ) -> ServiceInfo:
        return self._run(self._client.heartbeat(service_id, load=load, draining=draining, endpoint=endpoint))

    # --- the server itself --------------------------------------------------------------------------

    def health(self) -> ServerHealth:
        return self._run(self._client.health())

    def drain(self) -> DrainingReplica:
        return self._run(self._client.drain())

    def proof(self) -> HealthProof:
        return self._run(self._client.proof())

    # --- the loop -----------------------------------------------------------------------------------

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result. If the wait for it is interrupted, as by Ctrl-C, the work is canceled, and its end awaited."""
        if (loop := self._loop) is None:
            work.close()
            raise RuntimeError("use it as `with SyncClient(...) as client`")
        over, begun = threading.Event(), list[asyncio.Task[T]]()

        def begin() -> None:
            begun.append(task := loop.create_task(work))
            task.add_done_callback(lambda _: over.set())

        def cancel() -> None:
            if begun:
                begun[0].cancel()
            else:  # interrupted before `begin` was handed over
                work.close()
                over.set()

        try:
            loop.call_soon_threadsafe(begin)
            over.wait()
        except BaseException:
            loop.call_soon_threadsafe(cancel)
            over.wait()
            raise
        return begun[0].result()

    def _each(self, items: AsyncGenerator[T, None]) -> Generator[T, None, None]:
        try:
            while (got := self._run(_next(items))) is not None:
                yield got[0]
        finally:
            if self._loop is not None:
                self._run(items.aclose())


async def _next(items: AsyncGenerator[T, None]) -> tuple[T] | None:
    """The next item, alone in a tuple; None after the last."""
    async for item in items:
        return (item,)
    return None
