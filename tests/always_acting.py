"""Stands in for the knowledge of who acts: this process does, until a test has another one take over."""

from __future__ import annotations

import time

from manager_agent.livekit.acting_process import ActingProcess
from manager_agent.livekit.livekit_clock import LiveKitClock
from manager_agent.livekit.turn_register import TurnRegister


class AlwaysActing(ActingProcess):
    acts = True
    has_successor = False

    @property
    def may_act(self) -> bool:
        return self.acts and not self.has_successor

    @property
    def is_superseded(self) -> bool:
        return self.has_successor

    async def start(self, last_writer: str = "") -> None: ...

    async def aclose(self) -> None: ...

    async def held(self) -> bool:
        return self.may_act

    def pause(self) -> None:
        """Let LiveKit not say who acts."""
        self.acts = False

    def go_on(self) -> None:
        """Let LiveKit say that this process acts."""
        self.acts = True
        self._tell()

    def supersede(self) -> None:
        """Let a newer process take over."""
        self.has_successor = True
        for listener in self._superseded:
            listener()


def always_acting() -> AlwaysActing:
    register = TurnRegister(
        url="ws://127.0.0.1:1",
        api_key="key",
        api_secret="secret",
        deployment="default",
        livekit_clock=LiveKitClock(time.time),
    )
    return AlwaysActing(register)
