"""Invites services and tells them when their session ends: by signed HTTP POST, or by LiveKit's agent dispatch.

Each call is one try. plan.py decides when to try again, so that running tries and their number are part of the session.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

from manager_agent.clock import Clock
from manager_agent.livekit.calls import LiveKitUnavailable, RoomMissing
from manager_agent.livekit.server_api import Rooms
from manager_agent.messages import Invite, SessionEndedMessage, instant, invited_session
from manager_agent.outbound.address_policy import AddressPolicy
from manager_agent.outbound.dispatch_metadata import dispatch_metadata
from manager_agent.outbound.fair_slots import SlotBounds
from manager_agent.outbound.http_client import DeliveryFailed, GuardedHttpClient
from manager_agent.outbound.signing import signed_headers
from manager_agent.session.deadlines import invite_deadline
from manager_agent.session.events import Refusal
from manager_agent.session.identities import Identities
from manager_agent.session.required_service import RequiredService
from manager_agent.session.session import Session
from manager_agent.traceparent import TraceContext

TraceOf = Callable[[Session, RequiredService], TraceContext | None]
"""The trace context to send to a service with messages about its current attempt; None if there is none."""
BOUNDS = SlotBounds(in_all=512, per_owner=128, per_target=32)
"""Concurrent posts: in all, for one owner, and to one endpoint. A service that never answers occupies each for 5 s."""
ENDS_WAITING_MAX = 10_000
"""How many posts of one owner may wait before messages about the end of sessions are dropped. Invites are bounded by
the owner's sessions; these outlive them, and services that hang would let them grow without end."""
NOT_DISPATCHED = "LiveKit did not take the dispatch of the agent"
DECLINES = frozenset({HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


class InviteError(Exception):
    """A failed try. `final`: the service wants no further one. `public_detail`: what the session's owner may know of
    the reason, which is nothing about networks that it can't see itself. `is_livekits`: LiveKit failed, which says
    nothing about the service."""

    def __init__(
        self,
        why: Refusal,
        detail: str,
        *,
        final: bool = False,
        public_detail: str | None = None,
        is_livekits: bool = False,
    ) -> None:
        super().__init__(detail)
        self.why, self.final = why, final
        self.public_detail, self.is_livekits = public_detail, is_livekits


def trace_passed_on(session: Session, _: RequiredService) -> TraceContext | None:
    """The caller's trace context unchanged, for when we create no spans of our own."""
    return session.trace


class Inviter:
    def __init__(
        self,
        *,
        rooms: Rooms,
        identities: Identities,
        clock: Clock,
        api_key: str,
        api_secret: str,
        address_policy: AddressPolicy,
        trace_of: TraceOf = trace_passed_on,
    ) -> None:
        self._rooms, self._identities, self._clock = rooms, identities, clock
        self._key, self._secret = api_key, api_secret
        self._trace_of = trace_of
        self._http_client = GuardedHttpClient(address_policy, bounds=BOUNDS)

    async def start(self) -> None:
        await self._http_client.start()

    async def aclose(self) -> None:
        await self._http_client.aclose()

    @asynccontextmanager
    async def slot(
        self, session: Session, service: RequiredService, *, waiting_max: int | None = None
    ) -> AsyncIterator[None]:
        """Hold the slot of an invite within the block, once one is free. Dispatches need none: LiveKit answers them.
        Raises TooManyWaiting when more than `waiting_max` wait already."""
        endpoint = service.current.instance.endpoint
        if service.agent_name is not None or endpoint is None:
            yield
            return
        async with self._http_client.slots.slot(session.owner, endpoint, waiting_max=waiting_max):
            yield

    async def invite(self, session: Session, entry: int) -> str | None:
        """Invite the service of this entry; hold its slot. Returns the id of the dispatch if it is a dispatched agent.
        Raises InviteError."""
        service = session.services[entry]
        instance = service.current.instance
        if instance.agent_name is not None:
            return await self._dispatch(session, service, instance.agent_name)
        if instance.endpoint is not None:
            async with self._rooms.acts.under_way(session.session_id):
                token = self._rooms.tokens.for_service(session, service, self._clock()).jwt
                invite = self._invite(session, service).model_copy(
                    update={"identity": service.identity, "token": token}
                )
                await self._post(session.owner, instance.endpoint, invite, self._trace_of(session, service))
        return None

    async def send_session_ended(self, session: Session, service: RequiredService, reason: str) -> None:
        """Tell a service that the session is over, or over for this service. Raises InviteError, TooManyWaiting."""
        endpoint = service.current.instance.endpoint
        if service.agent_name is not None or endpoint is None:
            return  # a dispatched agent sees its room close
        session_ended = SessionEndedMessage(
            id=f"{service.invite_id}_end",
            createdAt=str(int(self._clock())),
            session=invited_session(session),
            service_id=service.service_id,
            attempt=service.attempt,
            identity=service.identity,
            reason=reason,
        )
        async with self.slot(session, service, waiting_max=ENDS_WAITING_MAX):
            await self._post(session.owner, endpoint, session_ended, self._trace_of(session, service))

    def _invite(self, session: Session, service: RequiredService) -> Invite:
        trace = self._trace_of(session, service)
        return Invite(
            id=service.invite_id,
            createdAt=str(int(service.timeline.invited or self._clock())),
            session=invited_session(session),
            service_id=service.service_id,
            attempt=service.attempt,
            server_url=self._rooms.services_url,
            manager_identity=session.manager.identity,
            ready_on=service.current.instance.ready_on,
            ready_deadline=instant(invite_deadline(session, self._clock())),
            traceparent=trace.traceparent if trace else None,
            tracestate=(trace.state or None) if trace else None,
        )

    async def _dispatch(self, session: Session, service: RequiredService, agent_name: str) -> str:
        names = service.requirement.asked_as, service.service_id, agent_name, service.type, session.profile
        metadata = dispatch_metadata(self._invite(session, service), *names)
        try:
            return await self._rooms.dispatch_agent(session, agent_name, metadata)
        except (LiveKitUnavailable, RoomMissing) as error:
            raise InviteError(
                Refusal.UNREACHABLE, str(error), public_detail=NOT_DISPATCHED, is_livekits=True
            ) from error

    async def _post(
        self, owner: str, endpoint: str, message: Invite | SessionEndedMessage, trace: TraceContext | None
    ) -> None:
        body = message.model_dump_json().encode()
        headers = signed_headers(body, self._key, self._secret, at=self._rooms.livekit_clock())
        headers |= trace.headers if trace else {}
        try:
            status = await self._http_client.deliver(endpoint, body, headers, owner=owner)
        except DeliveryFailed as error:
            raise InviteError(Refusal.UNREACHABLE, str(error), public_detail=error.refusal) from error
        if 200 <= status < 300:
            return
        if status == HTTPStatus.GONE:
            raise InviteError(Refusal.DECLINED, "answered 410", final=True)
        why = Refusal.DECLINED if status in DECLINES else Refusal.UNREACHABLE
        raise InviteError(why, f"answered {status}")
