"""One room, watched: what the SDK tells of it, translated into events, and the answers to what services say.

`rtc` calls back synchronously and swallows exceptions: the callbacks only put events into the watcher's inbox,
and one coroutine takes them out in order.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import structlog
from livekit import rtc
from livekit.rtc.participant import PublishDataError

from manager_agent.clock import Clock
from manager_agent.livekit.ffi import filter_events_to_room
from manager_agent.livekit.participants import participant_in_room
from manager_agent.livekit.room_connection import CONNECT_TIMEOUT, connect, disconnect
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
from manager_agent.session import events as ev
from manager_agent.session.events import Evidence, Signal
from manager_agent.session.session import Session
from manager_agent.store.store import Store, UnknownSession

log = structlog.get_logger()

OPTIONS = rtc.RoomOptions(
    auto_subscribe=False,
    # Looking for network addresses for ever costs an eighth of a join, for interfaces that a server does not change.
    rtc_config=rtc.RtcConfiguration(continual_gathering_policy=rtc.ContinualGatheringPolicy.GATHER_ONCE),
)
INBOX_MAX = 1_000
"""Packets waiting to be looked at; more than that from one room is noise and dropped."""


class Watcher:
    """The manager's presence in the room of one session, under one identity."""

    def __init__(self, *, session_id: str, identity: str, store: Store, clock: Clock) -> None:
        self._session_id, self._identity = session_id, identity
        self._store, self._clock = store, clock
        self._room = rtc.Room()
        self._inbox: asyncio.Queue[ev.Event | rtc.DataPacket | None] = asyncio.Queue()
        self._ignored: Counter[str] = Counter()

    async def watch(self, url: str, token: str) -> None:
        """Joins the room and watches it until it closes. Raises TimeoutError, rtc.ConnectError."""
        self._listen()
        await connect(self._room, url, token, OPTIONS, CONNECT_TIMEOUT)
        filter_events_to_room(self._room)
        try:
            if self._store.get(self._session_id).manager.identity != self._identity:
                return  # another one is in charge by now
            self._room.local_participant.register_rpc_method(TOPIC, self._answer)
            self._sweep()
            log.info("manager_joined", identity=self._identity)
            relief = asyncio.create_task(self._until_relieved(), name="relief")
            try:
                await self._take_in_everything()
            finally:
                relief.cancel()
        finally:
            await disconnect(self._room)

    async def _take_in_everything(self) -> None:
        """Until the room is closed, or this manager is to leave it."""
        while (item := await self._inbox.get()) is not None:
            if isinstance(item, rtc.DataPacket):
                await self._hear(item)
            else:
                await self._store.update(self._session_id, item)

    async def _until_relieved(self) -> None:
        """The session put another manager in charge, while this one was away and the SDK brought it back."""
        with suppress(UnknownSession):
            await self._store.wait_for(self._session_id, lambda session: session.manager.identity != self._identity)
        log.warning("manager_relieved", identity=self._identity)
        self._inbox.put_nowait(None)

    def _listen(self) -> None:
        room, put = self._room, self._inbox.put_nowait

        def came(participant: rtc.RemoteParticipant) -> None:
            if participant.state == rtc.ParticipantState.PARTICIPANT_STATE_ACTIVE:
                put(self._seen(participant))

        def data(packet: rtc.DataPacket) -> None:
            if packet.topic == TOPIC and self._inbox.qsize() < INBOX_MAX:
                put(packet)

        room.on("participant_connected", came)
        room.on("participant_active", came)
        room.on("participant_attributes_changed", lambda _changed, participant: put(self._seen(participant)))
        room.on("participant_disconnected", lambda participant: put(self._left(participant)))
        room.on("data_received", data)
        room.on("reconnected", lambda: self._sweep())
        room.on("disconnected", lambda reason: put(None))

    def _sweep(self) -> None:
        """Takes in who is there already, and ourselves: for them no event comes."""
        for event in self._all_here():
            self._inbox.put_nowait(event)

    def _all_here(self) -> Iterator[ev.ParticipantSeen]:
        yield self._seen(self._room.local_participant)
        for participant in self._room.remote_participants.values():
            if participant.state == rtc.ParticipantState.PARTICIPANT_STATE_ACTIVE:
                yield self._seen(participant)

    def _seen(self, participant: rtc.Participant) -> ev.ParticipantSeen:
        return ev.ParticipantSeen(self._clock(), participant_in_room(participant))

    def _left(self, participant: rtc.Participant) -> ev.ParticipantLeft:
        return ev.ParticipantLeft(self._clock(), participant.identity, participant.sid)

    async def _answer(self, call: rtc.RpcInvocationData) -> str:
        """An RPC of a service: LiveKit vouches for its identity, and the answer is our acknowledgement."""
        try:
            signal = parse_signal(call.payload)
        except UnreadableMessage as error:
            self._ignore("rpc_unreadable", call.caller_identity, str(error))
            raise rtc.RpcError(RpcFault.UNREADABLE, str(error)) from None
        session = await self._take_in(call.caller_identity, signal)
        if session.entry_of(call.caller_identity) is None:
            self._ignore("rpc_from_unknown_caller", call.caller_identity, "")
            raise rtc.RpcError(RpcFault.UNKNOWN_CALLER, "no service was invited under this identity")
        if not session.has_taken_in(call.caller_identity, signal.type):
            raise rtc.RpcError(RpcFault.NOT_NOW, f"a service that has left or failed can't say {signal.type}")
        return Answer(revision=session.revision).model_dump_json()

    async def _hear(self, packet: rtc.DataPacket) -> None:
        """A data message of a service, acknowledged when it counts."""
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
        session = await self._take_in(identity, signal)
        if signal.invite_id and session.has_taken_in(identity, signal.type):
            await self._acknowledge(identity, signal.invite_id)

    async def _take_in(self, identity: str, signal: ServiceMessage) -> Session:
        known = self._room.remote_participants.get(identity)
        if known is not None:
            await self._store.update(self._session_id, self._seen(known))
        event = ev.ServiceSignalled(self._clock(), identity, signal.type, Evidence.MESSAGE)
        session = await self._store.update(self._session_id, event)
        write = log.debug if signal.type is Signal.PROGRESS else log.info
        write(
            "service_said", identity=identity, signal=signal.type, detail=signal.detail, **_service(session, identity)
        )
        return session

    async def _acknowledge(self, identity: str, invite_id: str) -> None:
        payload = Ack(invite_id=invite_id).model_dump_json().encode()
        try:
            await self._room.local_participant.publish_data(
                payload, reliable=True, topic=TOPIC, destination_identities=[identity]
            )
        except PublishDataError as error:  # it will say it again
            log.info("ack_not_sent", identity=identity, error=str(error), **self._about(identity))

    def _ignore(self, what: str, sender: str | None, detail: str) -> None:
        """Counts what is ignored; logs the 1st, 2nd, 4th, 8th ... so that noise can't fill the log."""
        self._ignored[what] += 1
        so_far = self._ignored[what]
        if so_far & (so_far - 1) == 0:
            log.warning(what, sender=sender, detail=detail[:200], so_far=so_far, **self._about(sender))

    def _about(self, identity: str | None) -> dict[str, str | int]:
        """Which service this is, if it is one and the session is not forgotten."""
        with suppress(UnknownSession):
            return _service(self._store.get(self._session_id), identity) if identity else {}
        return {}


def _service(session: Session, identity: str) -> dict[str, str | int]:
    """Which service of the session, and which attempt of it, as a log line names it."""
    entry = session.entry_of(identity)
    if entry is None:
        return {}
    return {"service_id": session.services[entry].service_id, "attempt": session.services[entry].attempt}
