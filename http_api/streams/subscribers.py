"""The readers of the feed and the news for each of them, with one listener on the store for all.

Each reader has a set of what changed since its last event, not a queue: a thousand changes of one session are one
entry. Events are rendered when a reader takes its news, once for all readers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog
from aiohttp import web

from http_api.access.principals import Permission, Principal
from http_api.models.rendered import RenderedSessions
from http_api.observability.upstreams import Upstreams
from http_api.replica import ReplicaStatus
from http_api.resources.ownership import sees_service
from http_api.streams.models import HealthView
from http_api.streams.seen_services import SeenServices
from manager_agent.clock import Clock
from manager_agent.registry.registry import Registry
from manager_agent.session.change_values import Revised, SessionForgotten, SessionOpened, SessionRestored
from manager_agent.session.session import Session
from manager_agent.store.store import Change, Store, UnknownSession
from manager_agent.tasks import Tasks

log = structlog.get_logger()

INTERVAL = 1.0
"""Seconds between two checks of the services, while a reader may see them."""
BACKLOG_MAX = 20_000
"""The maximum number of changed sessions, or services, kept for a reader. A reader further behind is disconnected and
gets a new snapshot when it reconnects."""


@dataclass(frozen=True, slots=True)
class News:
    """What was not sent to a reader yet."""

    sessions: Sequence[str]
    """The ids of sessions that changed or were removed, in order of their first change."""
    services: Sequence[str]
    """The ids of services that are new, changed or gone."""
    health: bool


@dataclass(slots=True, eq=False)
class Reader:
    principal: Principal
    is_behind: bool = False
    """Whether more has changed than is kept for it, so that its events would be incomplete."""
    _sessions: dict[str, None] = field(default_factory=dict)
    _services: dict[str, None] = field(default_factory=dict)
    _health: bool = False
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def sees_services(self) -> bool:
        return self.principal.may(Permission.SERVICES)

    @property
    def has_news(self) -> bool:
        return bool(self._sessions or self._services) or self._health

    def note(self, session_id: str) -> None:
        self._note(session_id, self._sessions)

    def note_service(self, service_id: str) -> None:
        self._note(service_id, self._services)

    def _note(self, one: str, noted: dict[str, None]) -> None:
        if one in noted or len(noted) < BACKLOG_MAX:
            noted[one] = None
        else:
            self.is_behind = True
        self._woken.set()

    def note_health(self) -> None:
        self._health = True
        self._woken.set()

    def wake(self) -> None:
        self._woken.set()

    def knows(self, session_id: str) -> None:
        """This session's current state is about to be sent."""
        self._sessions.pop(session_id, None)

    def knows_service(self, service_id: str) -> None:
        self._services.pop(service_id, None)

    def knows_services(self) -> None:
        """The current state of all services is about to be sent."""
        self._services.clear()

    async def wait(self) -> None:
        """Wait until there may be news."""
        await self._woken.wait()

    def take(self) -> News:
        news = News(tuple(self._sessions), tuple(self._services), self._health)
        self._sessions, self._services, self._health = {}, {}, False
        self._woken.clear()
        return news


class FeedReaders:
    """`tell` is a listener for the store, `tell_health` one for the upstreams."""

    def __init__(
        self,
        store: Store,
        rendered: RenderedSessions,
        registry: Registry,
        upstreams: Upstreams,
        clock: Clock,
        replica: Callable[[], ReplicaStatus] | None = None,
    ) -> None:
        """`rendered` follows the store itself. `replica`: what is known of the replicas; None: there are no others."""
        self._store, self._rendered = store, rendered
        self._registry, self._upstreams, self._clock = registry, upstreams, clock
        self._replica = replica
        self._readers: set[Reader] = set()
        self.services = SeenServices()
        """The services at the last check, for readers that may see them."""
        self._tasks = Tasks()
        self._looking: asyncio.Task[None] | None = None
        self.is_over = False
        """The process is stopping: streams end once all news is sent."""

    @property
    def count(self) -> int:
        """The number of readers."""
        return len(self._readers)

    @contextmanager
    def reading(self, principal: Principal) -> Iterator[Reader]:
        """A new reader without news."""
        reader = Reader(principal)
        if reader.sees_services and not any(other.sees_services for other in self._readers):
            self.services.clear()  # they were not checked for a while
            self.services.look(self._registry.statuses(), self._clock())
        self._readers.add(reader)
        if self._looking is None or self._looking.done():
            self._looking = self._tasks.spawn(self._look_while_read(), name="feed services", for_all=True)
        try:
            yield reader
        finally:
            self._readers.discard(reader)

    def tell(self, change: Change) -> None:
        """Note the change for every reader that may see the session, if clients can see it."""
        if not self._readers:
            return
        for part in change.parts:
            if isinstance(part, SessionOpened | SessionRestored | Revised | SessionForgotten):
                self._note(change.session)

    def _note(self, session: Session) -> None:
        for reader in self._readers:
            if reader.principal.sees(session.owner):
                reader.note(session.session_id)

    def tell_health(self) -> None:
        for reader in self._readers:
            reader.note_health()

    def end(self) -> None:
        """End every stream once its remaining news is sent."""
        self.is_over = True
        for reader in self._readers:
            reader.wake()

    async def aclose(self) -> None:
        await self._tasks.aclose()

    # --- what there is to tell, as JSON -----------------------------------------------------------------

    def session(self, session_id: str) -> str | None:
        """The JSON of a session; None when it is no longer stored."""
        try:
            return self._rendered.of(self._store.get(session_id))
        except UnknownSession:
            return None

    def health(self) -> HealthView:
        return HealthView.of(self._upstreams, None if self._replica is None else self._replica(), self._clock())

    # --- looking at the services ------------------------------------------------------------------------

    async def _look_while_read(self) -> None:
        while self._readers:
            await asyncio.sleep(INTERVAL)
            try:
                self._look()
            except Exception:
                log.exception("feed_fault")

    def _look(self) -> None:
        readers = [reader for reader in self._readers if reader.sees_services]
        if not readers:
            return
        for service in self.services.look(self._registry.statuses(), self._clock()):
            for reader in readers:
                if sees_service(reader.principal, service):
                    reader.note_service(service.service_id)


FEED = web.AppKey("FEED", FeedReaders)
