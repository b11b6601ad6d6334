"""Build a session for a request, open it, wait until it is ready, and turn a failure into the error to respond with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiohttp import web

from http_api.errors import NoToken, NotReady, RoomUnavailable, SessionOver, Unready
from http_api.limits.counter_limits import CounterLimits, service_of
from http_api.limits.key_marks import RequestMark
from http_api.limits.quotas import Quotas
from http_api.limits.waiters import Waiters, decided, until
from http_api.models.responses import SessionView
from http_api.protocol.server_timing import server_timing
from http_api.resources.ownership import state_of
from http_api.resources.repeated_requests import RepeatedRequests
from http_api.stopping import IS_STOPPING, Stopping
from manager_agent.acting_gate import ActingGate
from manager_agent.clock import Clock
from manager_agent.control.orchestrator import Orchestrator
from manager_agent.frozen import replace
from manager_agent.json_object import JsonObject
from manager_agent.livekit.server_api import Rooms
from manager_agent.not_acting import NotActing
from manager_agent.registry.registry import Registry
from manager_agent.session.plan import NAME_QUARANTINE
from manager_agent.session.required_service import Requirement
from manager_agent.session.room import generated_room_name
from manager_agent.session.session import EndReason, Limits, Session, User
from manager_agent.store.store import Full, RoomNameTaken, Store, UnknownSession
from manager_agent.traceparent import TraceContext
from manager_agent.ulids import new_ulid

DECISION_GRACE = 3.0
"""Seconds after its deadline within which a session ends, if this process acts."""
NAME_LOOK_INTERVAL = 1.0
"""Seconds between two looks whether a room name is free."""
NAME_WAIT = 5.0
"""Seconds that POST /sessions waits for the deletion of the caller's last room of that name."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRequests:
    store: Store
    registry: Registry
    orchestrator: Orchestrator
    rooms: Rooms
    acting: ActingGate
    quotas: Quotas
    limits_of_all: CounterLimits | None
    """Those of all replicas; None: there are no others."""
    waiters: Waiters
    repeated: RepeatedRequests
    stopping: Stopping
    rejection: Callable[[], str | None]
    """Why LiveKit does not accept our keys, if so."""
    clock: Clock
    limits: Limits
    """The default limits of a session."""
    token_join_timeout: float
    """`user_join_timeout` of sessions opened by the token endpoint."""
    callback_urls: Mapping[str, str] = field(repr=False)
    """The default callback URLs by caller, for sessions without their own."""

    def build(
        self,
        user: User,
        requirements: Sequence[Requirement],
        *,
        owner: str,
        shared_with: str = "",
        room_name: str | None,
        trace: TraceContext | None,
        metadata: JsonObject,
        profile: str,
        callback_url: str | None = None,
        ready_timeout: float | None = None,
        max_duration: float | None = None,
    ) -> Session:
        """The complete session, not opened yet. Open it without an await in between: its services are chosen by the
        capacity that they have now. Its room gets a generated name when `room_name` is None. Raises NotAvailable."""
        services, now = self.registry.choose(requirements, owner), self.clock()
        session_id = f"ses_{new_ulid(now)}"
        return Session(
            session_id=session_id,
            room_name=room_name or generated_room_name(session_id),
            user=user,
            created_at=now,
            services=services,
            metadata=metadata,
            limits=replace(
                self.limits,
                ready_timeout=ready_timeout or self.limits.ready_timeout,
                max_duration=max_duration or self.limits.max_duration,
            ),
            owner=owner,
            shared_with=shared_with,
            profile=profile,
            callback_url=self.callback_urls.get(owner) if callback_url is None else callback_url,
            traceparent="" if trace is None else trace.traceparent,
            tracestate="" if trace is None else trace.state,
            state_since=now,
        )

    def awaiting_guests(self, session: Session) -> Session:
        """The session as the token endpoint opens it."""
        limits = replace(session.limits, user_join_timeout=self.token_join_timeout)
        return replace(session, has_guests=True, limits=limits)

    async def check_livekit(self) -> None:
        """Raises LiveKitUnavailable. Call it before a session is built, so that no failed session is left behind."""
        await self.rooms.check()

    async def open(
        self,
        session: Session,
        give: Callable[[Session], Awaitable[T]],
        *,
        max_wait: float | None = None,
        ends_with_its_client: bool = True,
        request: RequestMark | None = None,
    ) -> T:
        """Open the session and wait until it is ready, at most `max_wait` seconds (None: no limit). Returns what `give`
        makes of it; if that raises NoToken, because the session is not ready any more, wait again.

        Raises Unready, Overloaded, TooManySessions, TooManyRoomNames, what `give` raises, and, when the session is over
        by then, the error that says why: NotReady, RoomNameTaken, RoomUnavailable or SessionOver.

        When the call is cancelled because the client disconnected, the session ends, unless `ends_with_its_client` is
        false; it is kept for a moment for the same `request`, if one is given. When the process stops before the
        session is ready, the session ends too, and the error is Unready; with `max_wait` it goes on, if its room
        exists.
        """
        if self.stopping.is_begun:
            raise Unready(IS_STOPPING)
        client = self.repeated.client_of(session.session_id, request) if ends_with_its_client else nullcontext()
        with self.waiters.waiting(), client:
            self.quotas.check(session.owner)  # no await between this check and opening, so no session exceeds them
            try:
                async with self.stopping.waits.timeout(self._undecided_for(session)):
                    session = await self._opened(session)
            except TimeoutError:
                raise self._undecided() from None
            return await self._given(session.session_id, give, max_wait)

    async def _opened(self, session: Session) -> Session:
        """Open the session; with other services than those that turn out to be full, because other replicas gave their
        last slots away at the same time. Raises NotAvailable if there are no others, and what Orchestrator.open
        raises."""
        full = set[str]()
        while True:
            try:
                return await self.orchestrator.open(session)
            except Full as error:
                service_id = service_of(error.counter)
                if service_id is None and self.limits_of_all is not None:
                    raise self.limits_of_all.refusal(error.counter) from None
                if service_id is None or service_id in full:
                    raise
                full.add(service_id)
                requirements = [service.requirement for service in session.services]
                session = replace(session, services=self.registry.choose(requirements, session.owner, full=full))

    async def wait_for_name(self, room_name: str | None, tenant: str, max_wait: float) -> float:
        """Wait until this tenant may have the room name, if it is known to be within `max_wait` seconds; return at once
        if not. Returns the seconds that it took. Raises Overloaded."""
        if room_name is None or not self.store.name_free_in(room_name, tenant):
            return 0.0
        begun = self.clock()
        ends = begun + max_wait
        with self.waiters.waiting():
            while 0 < (wait := self.store.name_free_in(room_name, tenant)) <= ends - self.clock():
                holder = self.store.in_room(room_name)
                if self.stopping.is_begun or (holder is not None and not holder.over):
                    break
                await self._change_of(holder, min(wait, NAME_LOOK_INTERVAL))
        return self.clock() - begun

    async def _change_of(self, session: Session | None, max_wait: float) -> None:
        """Return at the next change of the session, or after `max_wait` seconds."""
        if session is None:
            await asyncio.sleep(max_wait)
            return
        with suppress(TimeoutError, UnknownSession):
            async with asyncio.timeout(max_wait):
                await self.store.wait_for(session.session_id, lambda latest: latest is not session)

    async def until_ready(
        self,
        session_id: str,
        give: Callable[[Session], Awaitable[T]],
        *,
        max_wait: float | None = None,
        request: RequestMark | None = None,
    ) -> T:
        """What `give` makes of the session once it is ready, or as it is after `max_wait` seconds; if that raises
        NoToken, wait again. Raises UnknownSession, Overloaded, what `give` raises, and, when the session is over by
        then, the error that says why. When the client of this `request` disconnects, the
        session is kept for a moment and ends; without a request it continues."""
        client = nullcontext() if request is None else self.repeated.client_of(session_id, request)
        with self.waiters.waiting(), client:
            return await self._given(session_id, give, max_wait)

    async def _given(self, session_id: str, give: Callable[[Session], Awaitable[T]], max_wait: float | None) -> T:
        ends = self.clock() + (max_wait or 0.0)
        while True:
            session = await self._until_ready(session_id, max_wait)
            try:
                return await give(session)
            except NoToken:
                max_wait = None if max_wait is None else max(0.0, ends - self.clock())

    async def _until_ready(self, session_id: str, max_wait: float | None) -> Session:
        if max_wait is None:
            session = await self._decision(session_id)
        else:
            session = await until(self.store, session_id, decided, max_wait, self.stopping.waits)
        if session.over:
            raise await self._failure_of(session)
        if max_wait is None and not decided(session):
            raise self._undecided()
        return session

    async def _decision(self, session_id: str) -> Session:
        """The session once it is ready or over, or as it is when another process acts, LiveKit is away longer than the
        session has time, or the process stops."""
        while True:
            wait = self._undecided_for(self.store.get(session_id))
            session = await until(self.store, session_id, decided, wait, self.stopping.waits)
            if decided(session) or self.stopping.is_begun or not self.acting.may_act:
                return session

    def _undecided_for(self, session: Session) -> float:
        """The seconds after which it is ready or over, unless this process may not act or is stopping."""
        return max(0.0, session.ready_deadline - self.clock()) + DECISION_GRACE

    def _undecided(self) -> Exception:
        """The error for a session that is neither ready nor over after that time."""
        if self.store.is_frozen:
            return NotActing(self.acting.why_not)
        return Unready(IS_STOPPING if self.stopping.is_begun else self.acting.why_not)

    async def _failure_of(self, session: Session) -> Exception:
        """The error for a session that is over before it was ready."""
        if self.stopping.is_begun:
            return Unready(IS_STOPPING)
        if session.room.is_refused_name:
            return RoomNameTaken(session.room_name, NAME_QUARANTINE)
        match session.end and session.end.reason:
            case EndReason.READY_TIMEOUT | EndReason.SERVICE_LOST:
                session = await self.orchestrator.settled(session.session_id)
                return NotReady(*services_of(session), server_timing(session, session.state_since))
            case EndReason.ROOM_UNAVAILABLE:
                return RoomUnavailable(*services_of(session), rejection=self.rejection())
        return SessionOver(*state_of(session))


def services_of(session: Session) -> tuple[str, str | None, list[dict[str, Any]]]:
    """The id of the session, the reason of its end, and the JSON of its services."""
    view = SessionView.of(session).model_dump(mode="json")
    return view["session_id"], view["reason"], view["services"]


SESSION_REQUESTS = web.AppKey("SESSION_REQUESTS", SessionRequests)
