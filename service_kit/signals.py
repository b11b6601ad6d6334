"""Sends a service's signals to the manager: repeated until acknowledged, and sent again to a new manager.

Signals are RPCs: the RPC response is the only acknowledgement in a room that other participants can't forge.
"""

from __future__ import annotations

import asyncio

from livekit import rtc
from structlog.typing import FilteringBoundLogger

from manager_agent.messages import TOPIC, Answer, RoomStatus, ServiceMessage
from service_kit.pauses import pauses

ARRIVAL_TIMEOUT_FIRST, ARRIVAL_TIMEOUT_MAX = 0.25, 5.0
"""Seconds for a call to arrive. Short at first: often the manager is only just joining the room."""
ANSWER_TIMEOUT = 5.0
"""Seconds for the response to a call that has arrived."""
TRIES_BEFORE_WARNING = 8
"""Failed tries after which a warning is logged."""


class SignalSender:
    """Sends signals to the manager of one room. The last signal stays current until another one is sent."""

    def __init__(self, room: rtc.Room, manager: str | None, log: FilteringBoundLogger) -> None:
        self._room, self._manager, self._log = room, manager, log
        self._current: ServiceMessage | None = None
        self._acknowledged = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None

    async def send(self, message: ServiceMessage) -> None:
        """Make `message` the current signal; returns when a manager has acknowledged it."""
        self._current = message
        self.resend()
        await self._acknowledged.wait()

    async def send_once(self, message: ServiceMessage) -> None:
        """Send an unimportant signal once, acknowledged or not."""
        if self._manager is not None:
            await self._call(self._manager, message, arrival_timeout=1.0)

    def read_metadata(self, metadata: str) -> None:
        """Find the manager in the room's metadata, and send the current signal to a new one."""
        status = RoomStatus.read(metadata)
        if status and status.manager_identity and status.manager_identity != self._manager:
            self._manager = status.manager_identity
            self.resend()

    def resend(self) -> None:
        """Send the current signal again, until it is acknowledged once more."""
        self.stop()
        self._acknowledged.clear()
        if self._current and self._manager:
            repeating = self._repeat(self._manager, self._current)
            self._sending = asyncio.create_task(repeating, name=f"send {self._current.type}")

    def stop(self) -> None:
        """Stop sending."""
        if self._sending is not None:
            self._sending.cancel()

    async def _repeat(self, manager: str, message: ServiceMessage) -> None:
        clock = asyncio.get_running_loop().time
        for tries, arrival_timeout in enumerate(pauses(ARRIVAL_TIMEOUT_FIRST, ARRIVAL_TIMEOUT_MAX), start=1):
            until = clock() + arrival_timeout
            if await self._call(manager, message, arrival_timeout):
                self._log.info("said", what=message.type, to=manager, tries=tries)
                self._acknowledged.set()
                return
            if tries == TRIES_BEFORE_WARNING:
                self._log.warning("manager_does_not_answer", what=message.type, manager=manager, tries=tries)
            await asyncio.sleep(max(until - clock(), 0))

    async def _call(self, manager: str, message: ServiceMessage, arrival_timeout: float) -> bool:
        """Make one call, which has `arrival_timeout` seconds to arrive. Returns whether it was acknowledged."""
        try:
            async with asyncio.timeout(arrival_timeout + ANSWER_TIMEOUT + 1):  # the SDK's own timeouts come first
                answer = await self._room.local_participant.perform_rpc(
                    destination_identity=manager,
                    method=TOPIC,
                    payload=message.model_dump_json(exclude_none=True),
                    max_round_trip_latency=arrival_timeout,
                    response_timeout=arrival_timeout + ANSWER_TIMEOUT,
                )
            Answer.model_validate_json(answer)
        except Exception as error:  # any error means that it was not acknowledged
            self._log.debug("not_heard", what=message.type, to=manager, why=repr(error))
            return False
        return True
