"""Watches one room: translates the SDK's events into session events.

The SDK's callbacks are synchronous and their exceptions are swallowed. So they only put events into an inbox,
which one coroutine processes in order.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from contextlib import suppress

import structlog
from livekit import rtc

from manager_agent.clock import Clock
from manager_agent.livekit.attendance import Attendance
from manager_agent.livekit.event_routing import route_events
from manager_agent.livekit.join_slots import JoinSlots, JoinsUnderWay
from manager_agent.livekit.participant_budget import ParticipantBudget
from manager_agent.livekit.participants import may_be_replaced, participant_in_room
from manager_agent.livekit.room_connection import CONNECT_TIMEOUT, connect, disconnect
from manager_agent.livekit.server_api import Rooms
from manager_agent.livekit.service_signals import ServiceSignals
from manager_agent.messages import TOPIC
from manager_agent.not_acting import NotActing
from manager_agent.session import events as ev
from manager_agent.session.dispatch import JOIN_TIMEOUT
from manager_agent.session.events import ParticipantInfo
from manager_agent.store.recording import Recording
from manager_agent.store.store import Store, UnknownSession
from manager_agent.tasks import Tasks

log = structlog.get_logger()

OPTIONS = rtc.RoomOptions(
    auto_subscribe=False,
    # Continual gathering of network addresses adds an eighth to the cost of a join; a server's interfaces don't change.
    rtc_config=rtc.RtcConfiguration(continual_gathering_policy=rtc.ContinualGatheringPolicy.GATHER_ONCE),
)
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
        self._store, self._clock = store, clock
        self._room = rtc.Room()
        self._inbox: asyncio.Queue[ev.Event | rtc.DataPacket | None] = asyncio.Queue()
        self._budget, self._rooms, self._slots, self._joins = budget, rooms, slots, joins
        self._attendance = Attendance()
        self._giving_up: asyncio.TimerHandle | None = None
        self._signals = ServiceSignals(
            self._room,
            session_id=session_id,
            store=store,
            recording=recording,
            clock=clock,
            budget=budget,
            seen=self._seen,
        )

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
        self._signals.answer_rpcs()
        self._enqueue_present()
        log.info("manager_joined", identity=self._identity)
        leaving = asyncio.create_task(self._stop_when_not_in_charge(), name="manager leaving")
        try:
            await self._process_inbox()
        finally:
            leaving.cancel()
            await self._signals.aclose()
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
                await self._signals.on_data(item)
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
