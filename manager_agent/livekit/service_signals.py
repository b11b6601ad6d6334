"""What services signal in a room, by RPC and by data message: recorded, and then answered or acknowledged.

LiveKit guarantees the identity of an RPC's caller, and it waits for an answer. A data packet that arrives early has no
sender; so it names the invite.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import structlog
from livekit import rtc
from livekit.rtc.participant import PublishDataError

from manager_agent.clock import Clock
from manager_agent.livekit.participant_budget import ParticipantBudget
from manager_agent.messages import (
    SIGNAL_BYTES_MAX,
    TOPIC,
    Ack,
    Answer,
    RpcFault,
    ServiceMessage,
    UnreadableMessage,
    parse_signal,
)
from manager_agent.not_acting import NotActing
from manager_agent.session import events as ev
from manager_agent.session.events import Evidence, Signal
from manager_agent.session.session import Session
from manager_agent.store.recording import NotRecorded, Recording
from manager_agent.store.store import Store, UnknownSession
from manager_agent.tasks import Tasks

log = structlog.get_logger()

IGNORED_INTERVAL = 60.0
"""Seconds between two log entries about messages of one room that are ignored, or that say nothing new."""


class ServiceSignals:
    """Of the services of one session, in the room that the manager has joined."""

    def __init__(
        self,
        room: rtc.Room,
        *,
        session_id: str,
        store: Store,
        recording: Recording,
        clock: Clock,
        budget: ParticipantBudget,
        seen: Callable[[rtc.Participant], ev.ParticipantSeen],
    ) -> None:
        """`seen`: makes the event that a participant is in the room."""
        self._room, self._session_id = room, session_id
        self._store, self._recording, self._clock, self._budget = store, recording, clock, budget
        self._seen = seen
        self._acknowledgements = Tasks()
        self._said: set[tuple[str, Signal]] = set()
        """The signals of services that were logged."""
        self._ignored: Counter[str] = Counter()
        self._ignored_logged_at = self._repeated_logged_at = -math.inf

    def answer_rpcs(self) -> None:
        """From now on. Data messages are passed to on_data()."""
        self._room.local_participant.register_rpc_method(TOPIC, self._on_rpc)

    async def aclose(self) -> None:
        # Else the native side never frees the room: the method holds it (livekit/rust-sdks#1437).
        self._room.local_participant.unregister_rpc_method(TOPIC)
        await self._acknowledgements.aclose()

    async def _on_rpc(self, call: rtc.RpcInvocationData) -> str:
        """Handle an RPC of a service. LiveKit guarantees the caller's identity; the response is our acknowledgement."""
        try:
            signal = parse_signal(call.payload)
        except UnreadableMessage as error:
            self._ignore("rpc_unreadable", call.caller_identity, str(error))
            raise rtc.RpcError(RpcFault.UNREADABLE, str(error)) from None
        await self._record_presence(call.caller_identity)  # it may be a dispatched agent, known once it is seen
        session = self._store.get(self._session_id)
        if session.entry_of(call.caller_identity) is None:
            self._ignore("rpc_from_unknown_caller", call.caller_identity, "")
            raise rtc.RpcError(RpcFault.UNKNOWN_CALLER, "no service was invited with this identity")
        session = await self._apply(call.caller_identity, signal)
        if not session.has_applied(call.caller_identity, signal.type):
            raise rtc.RpcError(RpcFault.NOT_NOW, f"a service that has left or failed can't signal {signal.type}")
        try:
            await self._recording.until_recorded(self._session_id)
        except (NotRecorded, NotActing) as error:
            raise rtc.RpcError(RpcFault.NOT_RECORDED, str(error)) from None
        return Answer(revision=session.revision).model_dump_json()

    async def on_data(self, packet: rtc.DataPacket) -> None:
        """Handle a data message of a service, and acknowledge it if it took effect."""
        sender = packet.participant.identity if packet.participant else None
        if len(packet.data) > SIGNAL_BYTES_MAX:
            self._ignore("data_too_long", sender, f"{len(packet.data)} bytes")
            return
        try:
            signal = parse_signal(packet.data)
        except UnreadableMessage as error:
            self._ignore("data_unreadable", sender, str(error))
            return
        session = self._store.get(self._session_id)
        identity = sender or session.invited_as(signal.invite_id)
        if identity is None or session.entry_of(identity) is None:
            self._ignore("data_from_unknown_sender", sender, "")
            return
        await self._record_presence(identity)
        session = await self._apply(identity, signal)
        if signal.invite_id and session.has_applied(identity, signal.type):
            self._acknowledgements.spawn(self._acknowledge(identity, signal.invite_id), name="acknowledgement")

    async def _apply(self, identity: str, signal: ServiceMessage) -> Session:
        """Record the signal. Returns the session."""
        before = self._store.get(self._session_id)
        event = ev.ServiceSignalled(self._clock(), identity, signal.type, Evidence.MESSAGE, signal.detail)
        session = await self._store.update(self._session_id, event)
        is_new = session is not before or (identity, signal.type) not in self._said
        self._said.add((identity, signal.type))
        about = {"identity": identity, "signal": signal.type, **_service_fields(session, identity)}
        if is_new and signal.type is not Signal.PROGRESS:
            log.info("service_said", detail=signal.detail, **about)
        elif self._clock() >= self._repeated_logged_at + IGNORED_INTERVAL:
            self._repeated_logged_at = self._clock()
            log.debug("service_repeats", **about)
        return session

    async def _record_presence(self, identity: str) -> None:
        """Record that this participant is here, if it is: its join may not have been reported yet."""
        participant = self._room.remote_participants.get(identity)
        if participant is not None:
            await self._store.update(self._session_id, self._seen(participant))

    async def _acknowledge(self, identity: str, invite_id: str) -> None:
        """Once the signal is recorded; the service repeats it until then."""
        try:
            await self._recording.until_recorded(self._session_id)
        except (NotRecorded, NotActing) as error:
            self._ignore("ack_not_sent", identity, str(error))
            return
        payload = Ack(invite_id=invite_id).model_dump_json().encode()
        try:
            await self._room.local_participant.publish_data(
                payload, reliable=True, topic=TOPIC, destination_identities=[identity]
            )
        except PublishDataError as error:  # the service repeats its signal
            self._ignore("ack_not_sent", identity, str(error))

    def _ignore(self, what: str, sender: str | None, detail: str) -> None:
        """Count an ignored message. Log one in IGNORED_INTERVAL, of whatever kind, with the counts of all kinds, so
        that noise can't fill the log."""
        self._ignored[what] += 1
        now = self._clock()
        if now >= self._ignored_logged_at + IGNORED_INTERVAL:
            self._ignored_logged_at = now
            counts = self._ignored + Counter({f"{kind}_dropped": n for kind, n in self._budget.dropped.items()})
            about = self._service_fields(sender)
            log.warning(what, sender=sender, detail=detail[:200], so_far=self._ignored[what], ignored=counts, **about)

    def _service_fields(self, identity: str | None) -> dict[str, str | int]:
        """The log fields of the service with this identity. Empty if it is none, or the session is gone."""
        with suppress(UnknownSession):
            return _service_fields(self._store.get(self._session_id), identity) if identity else {}
        return {}


def _service_fields(session: Session, identity: str) -> dict[str, str | int]:
    """The log fields of a service of the session: its id and attempt."""
    entry = session.entry_of(identity)
    if entry is None:
        return {}
    return {"service_id": session.services[entry].service_id, "attempt": session.services[entry].attempt}
