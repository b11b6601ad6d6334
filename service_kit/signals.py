"""What a service says to the manager: repeated until it is heard, and said again to whoever comes after.

Said by RPC, as its answer is the only acknowledgement in a room that nobody can forge.
"""

from __future__ import annotations

import asyncio

from livekit import rtc
from structlog.typing import FilteringBoundLogger

from manager_agent.messages import TOPIC, Answer, RoomStatus, ServiceMessage
from service_kit.pauses import pauses

PATIENCE_FIRST, PATIENCE_MAX = 0.25, 5.0
"""Seconds for a call to arrive. Short at first: the manager is often on its way into the room itself."""
ANSWER_TIMEOUT = 5.0
"""Seconds for the answer to a call that has arrived."""
UNHEARD_MANY = 8
"""After so many tries in vain somebody should know."""


class SignalSender:
    """Speaks to the manager of one room. What was said last stands, until something else is said."""

    def __init__(self, room: rtc.Room, manager: str | None, log: FilteringBoundLogger) -> None:
        self._room, self._manager, self._log = room, manager, log
        self._standing: ServiceMessage | None = None
        self._heard = asyncio.Event()
        self._saying: asyncio.Task[None] | None = None

    async def say(self, message: ServiceMessage) -> None:
        """Lets `message` stand; returns when a manager has heard it."""
        self._standing = message
        self.say_again()
        await self._heard.wait()

    async def mention(self, message: ServiceMessage) -> None:
        """Says something of passing interest: once, whether anybody hears it or not."""
        if self._manager is not None:
            await self._call(self._manager, message, timeouts=1.0)

    def read(self, metadata: str) -> None:
        """Finds the manager in the room's metadata. A new one is told what stands."""
        status = RoomStatus.read(metadata)
        if status and status.manager_identity and status.manager_identity != self._manager:
            self._manager = status.manager_identity
            self.say_again()

    def say_again(self) -> None:
        """Says what stands as if nobody had heard it."""
        self.hush()
        self._heard.clear()
        if self._standing and self._manager:
            repeating = self._repeat(self._manager, self._standing)
            self._saying = asyncio.create_task(repeating, name=f"say {self._standing.type}")

    def hush(self) -> None:
        if self._saying is not None:
            self._saying.cancel()

    async def _repeat(self, manager: str, message: ServiceMessage) -> None:
        clock = asyncio.get_running_loop().time
        for tries, timeouts in enumerate(pauses(PATIENCE_FIRST, PATIENCE_MAX), start=1):
            until = clock() + timeouts
            if await self._call(manager, message, timeouts):
                self._log.info("said", what=message.type, to=manager, tries=tries)
                self._heard.set()
                return
            if tries == UNHEARD_MANY:
                self._log.warning("manager_does_not_answer", what=message.type, manager=manager, tries=tries)
            await asyncio.sleep(max(until - clock(), 0))

    async def _call(self, manager: str, message: ServiceMessage, timeouts: float) -> bool:
        """One call, which has `timeouts` seconds to arrive; whether it was acknowledged."""
        try:
            async with asyncio.timeout(timeouts + ANSWER_TIMEOUT + 1):  # the SDK's own timeouts come first
                answer = await self._room.local_participant.perform_rpc(
                    destination_identity=manager,
                    method=TOPIC,
                    payload=message.model_dump_json(exclude_none=True),
                    max_round_trip_latency=timeouts,
                    response_timeout=timeouts + ANSWER_TIMEOUT,
                )
            Answer.model_validate_json(answer)
        except Exception as error:  # whatever it was, nobody has heard it
            self._log.debug("not_heard", what=message.type, to=manager, why=repr(error))
            return False
        return True
