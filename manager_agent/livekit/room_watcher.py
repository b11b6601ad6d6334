"""Watches one room: translates the SDK's events into session events, and acknowledges the signals of services.

The SDK's callbacks are synchronous and their exceptions are swallowed. So they only put events into an inbox,
which one coroutine processes in order.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import structlog
from livekit import rtc
from livekit.rtc.participant import PublishDataError

from manager_agent.clock import Clock
from manager_agent.livekit.attendance import Attendance
from manager_agent.livekit.event_routing import route_events
from manager_agent.livekit.join_slots import JoinSlots, JoinsUnderWay
from manager_agent.livekit.participant_budget import ParticipantBudget
from manager_agent.livekit.participants import may_be_replaced, participant_in_room
from manager_agent.livekit.room_connection import CONNECT_TIMEOUT, connect, disconnect
from manager_agent.livekit.server_api import Rooms
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
from manager_agent.session.dispatch import JOIN_TIMEOUT
from manager_agent.session.events import Evidence, ParticipantInfo, Signal
from manager_agent.session.session import Session
from manager_agent.store.recording import NotRecorded, Recording
from manager_agent.store.store import Store, UnknownSession
from manager_agent.tasks import Tasks

log = structlog.get_logger()

OPTIONS = rtc.RoomOptions(
    auto_subscribe=False,
    # Continual gathering of network addresses adds an eighth to the cost of a join; a server's interfaces don't change.
    rtc_config=rtc.RtcConfiguration(continual_gathering_policy=rtc.ContinualGatheringPolicy.GATHER_ONCE),
)
IGNORED_INTERVAL = 60.0
"""Seconds between two log entries about messages of one room that are ignored, or that say nothing new."""
WAITING_REPORTED = JOIN_TIMEOUT / 4
"""Seconds between two reports that a manager waits for its turn. After the last one there is time for the join."""
RECONNECT_TIMEOUT = 20.0
"""Seconds for the SDK to restore its connection."""
INBOX_MAX = 1_000
"""Unprocessed data packets of one room, beyond which further ones are dropped as noise."""


class Watcher:
    """The manager in the room of one session, under one identity."""

    def __init__(
        self,
        *,
        session_id: str,
        identity: str,
        store: Store,
        recording: Recording,
        clock: Clock,
        budget: ParticipantBudget,
        rooms: Rooms,
        slots: JoinSlots,
        joins: JoinsUnderWay,
    ) -> None:
        self._session_id, self._identity = session_id, identity
        self._store, self._recording, self._clock = store, recording, clock
        self._room = rtc.Room()
        self._inbox: asyncio.Queue[ev.Event | rtc.DataPacket | None] = asyncio.Queue()
        self._budget, self._rooms, self._slots, self._joins = budget, rooms, slots, joins
        self._attendance = Attendance()
        self._giving_up: asyncio.TimerHandle | None = None
        self._acknowledgements = Tasks()
        self._said: set[tuple[str, Signal]] = set()
        """The signals of services that were logged."""
        self._ignored: Counter[str] = Counter()
        self._ignored_logged_at = self._repeated_logged_at = -math.inf

    async def watch(self, url: str, token: str) -> None:
        """Join the room and watch it until it closes. Raises TimeoutError, rtc.ConnectError."""
        self._listen()
        waiting = Tasks()
        waiting.spawn(self._report_waiting(), name="manager waiting")
        try:
            async with self._slots.slot():
                waiting.cancel()
                if not self._is_in_charge() or self._store.get(self._session_id).over:
                    return
                with self._joins.of(self._session_id):  # the room is deleted after it
                    await connect(self._room, url, token, OPTIONS, CONNECT_TIMEOUT)
        except (rtc.ConnectError, TimeoutError):
            await self._delete_what_came_back()  # it may have got as far as that
            raise
        finally:
            waiting.cancel()
        route_events(self._room, TOPIC, self._budget)
        try:
            if self._is_in_charge():
                await self._serve()
            if self._room.isconnected():
                await self._delete_what_came_back()
        finally:
            await disconnect(self._room)

    async def _report_waiting(self) -> None:
        """Report that this manager waits for its turn to join: it is not overdue."""
        with suppress(UnknownSession, NotActing):
            while True:
                await asyncio.sleep(WAITING_REPORTED)
                await self._store.update(self._session_id, ev.ManagerWaited(self._clock(), self._identity))

    def _is_in_charge(self) -> bool:
        """Whether the session needs this manager: its room is there, and no other manager is in charge by now. Raises
        UnknownSession."""
        session = self._store.get(self._session_id)
        return session.manager.identity == self._identity and not session.is_cleaned_up

    def _is_needed(self) -> bool:
        """Whether this manager has to stay: it is in charge, or another replica's manager that is to relieve it is not
        in the room yet. Raises UnknownSession."""
        session = self._store.get(self._session_id)
        if self._is_in_charge() or session.is_cleaned_up:
            return not session.is_cleaned_up
        relieved = session.stale_participant(self._identity)
        is_awaited = not session.over and not session.manager.presence.here
        return relieved is not None and is_awaited and self._clock() < relieved.not_before

    async def _serve(self) -> None:
        """Watch the room until it closes or this manager has to leave."""
        self._room.local_participant.register_rpc_method(TOPIC, self._on_rpc)
        self._enqueue_present()
        log.info("manager_joined", identity=self._identity)
        leaving = asyncio.create_task(self._stop_when_not_in_charge(), name="manager leaving")
        try:
            await self._process_inbox()
        finally:
            leaving.cancel()
            # Else the native side never frees the room: the method holds it (livekit/rust-sdks#1437).
            self._room.local_participant.unregister_rpc_method(TOPIC)
            await self._acknowledgements.aclose()
            if self._giving_up is not None:
                self._giving_up.cancel()

    async def _delete_what_came_back(self) -> None:
        """LiveKit makes a deleted room again for a participant that joins or reconnects at that moment, such as this
        manager, and keeps it for minutes."""
        session = self._store.get(self._session_id)
        if session.is_cleaned_up:
            await self._rooms.delete_what_came_back(session, self._identity)

    async def _process_inbox(self) -> None:
        """Process events in order until the room is closed or this manager has to leave."""
        while (item := await self._inbox.get()) is not None:
            if isinstance(item, rtc.DataPacket):
                await self._on_data(item)
            else:
                await self._store.update(self._session_id, item)

    async def _stop_when_not_in_charge(self) -> None:
        """Leave once the session has put another manager in charge, as it may while this one is disconnected before the
        SDK reconnects, once the one of another replica has relieved it, and once its room is deleted, as LiveKit may
        not say so."""
        with suppress(UnknownSession, NotActing):
            await self._store.wait_for(self._session_id, lambda _: not self._is_needed())
            session = self._store.get(self._session_id)
            relieved = session.stale_participant(self._identity)
            if relieved is not None and relieved.not_before > -math.inf:
                log.info("manager_handed_over", identity=self._identity, by=session.manager.identity)
            elif not session.is_cleaned_up:
                log.warning("manager_relieved", identity=self._identity)
        self._inbox.put_nowait(None)

    def _listen(self) -> None:
        room, put = self._room, self._inbox.put_nowait

        def on_present(participant: rtc.RemoteParticipant) -> None:
            if participant.state == rtc.ParticipantState.PARTICIPANT_STATE_ACTIVE:
                put(self._seen(participant))

        def on_data(packet: rtc.DataPacket) -> None:
            if packet.topic == TOPIC and self._inbox.qsize() < INBOX_MAX:
                put(packet)

        room.on("participant_connected", on_present)
        room.on("participant_active", on_present)
        room.on("participant_attributes_changed", lambda _changed, participant: put(self._seen(participant)))
        room.on("participant_disconnected", self._on_left)
        room.on("data_received", on_data)
        room.on("reconnecting", self._on_reconnecting)
        room.on("reconnected", self._on_reconnected)
        room.on("disconnected", lambda reason: put(None))

    def _enqueue_present(self) -> None:
        """Enqueue events for the participants already present and for ourselves: the SDK sends none for them."""
        for event in self._present():
            self._inbox.put_nowait(event)

    def _present(self) -> Iterator[ev.ParticipantSeen]:
        yield self._seen(self._room.local_participant)
        for participant in self._room.remote_participants.values():
            if participant.state == rtc.ParticipantState.PARTICIPANT_STATE_ACTIVE:
                yield self._seen(participant)

    def _seen(self, participant: rtc.Participant) -> ev.ParticipantSeen:
        info = participant_in_room(participant)
        self._attendance.seen(info)
        return ev.ParticipantSeen(self._clock(), info, seen_by=self._identity)

    def _on_left(self, participant: rtc.RemoteParticipant) -> None:
        if self._attendance.left(participant.sid):
            replaced = may_be_replaced(participant.disconnect_reason)
            self._enqueue_left(participant_in_room(participant), replaced=replaced)

    def _enqueue_left(self, gone: ParticipantInfo, *, replaced: bool, may_return: bool = False) -> None:
        at, by = self._clock(), self._identity
        self._inbox.put_nowait(
            ev.ParticipantLeft(at, gone.identity, gone.sid, replaced=replaced, seen_by=by, may_return=may_return)
        )

    def _on_reconnecting(self) -> None:
        """Give up after RECONNECT_TIMEOUT: the node may be dead, and another manager may get into the room."""
        self._attendance.reconnecting()
        if self._giving_up is None:
            loop = asyncio.get_running_loop()
            self._giving_up = loop.call_later(RECONNECT_TIMEOUT, self._inbox.put_nowait, None)

    def _on_reconnected(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None
        self._enqueue_present()
        present = (self._room.local_participant, *self._room.remote_participants.values())
        missing = self._attendance.reconnected(participant.sid for participant in present)
        was_cut_off = any(gone.identity == self._identity for gone in missing)  # it is another participant now
        for gone in missing:
            if gone.identity != self._identity:
                is_back = gone.identity in self._room.remote_participants
                self._enqueue_left(gone, replaced=is_back, may_return=was_cut_off)

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

    async def _on_data(self, packet: rtc.DataPacket) -> None:
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
