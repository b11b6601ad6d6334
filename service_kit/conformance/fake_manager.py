"""A fake manager in a room: records the presence and signals of services."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from livekit import rtc

from manager_agent.livekit.room_connection import connect, disconnect
from manager_agent.messages import (
    STATE_ATTRIBUTE,
    TOPIC,
    Ack,
    Answer,
    Evidence,
    RpcFault,
    ServiceMessage,
    Signal,
    UnreadableMessage,
    parse_signal,
)
from service_kit.conformance.report import Unable

CONNECT_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class HeardSignal:
    """A signal of the service."""

    message: ServiceMessage
    how: Evidence
    at: float
    manager: str
    """The manager's identity at that time."""
    acknowledged: bool


class FakeManager:
    """Joins a room as the manager, acknowledges signals as the manager does, and records them."""

    def __init__(self, *services: str, invites: str = "inv_", ignoring: float = 0) -> None:
        """`services`: the identities whose signals count. `invites`: the prefix of its invite ids. `ignoring`: how many
        of the next signals are not acknowledged; math.inf: none is."""
        self._services, self._invites = services, invites
        self.ignoring = ignoring
        self.sids: list[str] = []
        """The sids of the services' joins, in order."""
        self.heard: list[HeardSignal] = []
        self._room = rtc.Room()
        self._manager = ""
        self._news = asyncio.Event()
        self._acks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<FakeManager for {', '.join(self._services)} [{len(self.sids)} joins, {len(self.heard)} signals]>"

    @property
    def is_there(self) -> bool:
        """Whether a service is in the room."""
        return any(service in self._room.remote_participants for service in self._services)

    @property
    def ready(self) -> list[HeardSignal]:
        """The `ready` signals."""
        return [heard for heard in self.heard if heard.message.type is Signal.READY]

    @property
    def failed(self) -> str | None:
        """The detail of the last `failed` signal; None if there is none."""
        details = [heard.message.detail for heard in self.heard if heard.message.type is Signal.FAILED]
        return (details[-1] or "no detail") if details else None

    async def enter(self, manager: str, url: str, token: str) -> None:
        """Join the room under the identity `manager`. Raises Unable."""
        self._manager = manager
        self._room = room = rtc.Room()
        room.on("participant_connected", self._on_seen)
        room.on("participant_disconnected", lambda _: self._news.set())
        room.on("participant_attributes_changed", lambda _, participant: self._on_seen(participant))
        room.on("data_received", self._on_data)
        try:
            await connect(room, url, token, rtc.RoomOptions(auto_subscribe=False), CONNECT_TIMEOUT)
        except (rtc.ConnectError, TimeoutError) as error:
            raise Unable(f"the manager can't join a room at {url}: {error!r}") from None
        room.local_participant.register_rpc_method(TOPIC, self._on_call)
        for participant in room.remote_participants.values():
            self._on_seen(participant)

    async def leave(self) -> None:
        for ack in self._acks:
            ack.cancel()
        if self._room.isconnected():
            await disconnect(self._room)

    async def until(self, wanted: Callable[[], bool], seconds: float) -> bool:
        """Wait up to `seconds` for the condition. Returns whether it holds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not wanted():
                    self._news.clear()
                    await self._news.wait()
        return wanted()

    def take(self, message: ServiceMessage, how: Evidence) -> bool:
        """Record a signal of a service. Returns whether it is acknowledged."""
        acknowledged = self.ignoring <= 0
        self.ignoring = max(self.ignoring - 1, 0)
        self.heard.append(HeardSignal(message, how, time.monotonic(), self._manager, acknowledged))
        self._news.set()
        return acknowledged

    def _on_seen(self, participant: rtc.Participant) -> None:
        if participant.identity not in self._services:
            return
        if participant.sid not in self.sids:
            self.sids.append(participant.sid)
        signal = participant.attributes.get(STATE_ATTRIBUTE)
        known = any(one.how is Evidence.ATTRIBUTE and one.manager == self._manager for one in self.ready)
        if signal == Signal.FAILED or (signal == Signal.READY and not known):
            self.take(ServiceMessage(type=Signal(signal)), Evidence.ATTRIBUTE)
        self._news.set()

    async def _on_call(self, call: rtc.RpcInvocationData) -> str:
        try:
            message = parse_signal(call.payload)
        except UnreadableMessage as error:
            raise rtc.RpcError(RpcFault.UNREADABLE, str(error)) from None
        if call.caller_identity not in self._services or not self.take(message, Evidence.MESSAGE):
            raise rtc.RpcError(RpcFault.UNKNOWN_CALLER, "no service was invited under this identity")
        return Answer(revision=1).model_dump_json()

    def _on_data(self, packet: rtc.DataPacket) -> None:
        sender = packet.participant.identity if packet.participant else None
        if packet.topic != TOPIC or sender not in (None, *self._services):
            return
        with suppress(UnreadableMessage):
            message = parse_signal(packet.data)
            invite_id = message.invite_id or ""
            if (sender or invite_id.startswith(self._invites)) and self.take(message, Evidence.MESSAGE):
                ack = asyncio.create_task(self._acknowledge(invite_id), name="ack")
                self._acks.add(ack)
                ack.add_done_callback(self._acks.discard)

    async def _acknowledge(self, invite_id: str) -> None:
        with suppress(Exception):  # the service repeats its signal
            payload = Ack(invite_id=invite_id).model_dump_json()
            await self._room.local_participant.publish_data(
                payload, reliable=True, topic=TOPIC, destination_identities=list(self._services)
            )
