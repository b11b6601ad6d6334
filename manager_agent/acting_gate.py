"""The gate that everything passes which changes a room or a session: whether this process may act now. PURE.

One process of a deployment asks LiveKit (livekit/acting_process.py); a replica has a lease in Redis
(replicas/acting_replica.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class ActingGate(Protocol):
    @property
    def id(self) -> str:
        """Of this process; another one is made at each start."""

    @property
    def room_name(self) -> str:
        """The name of the deployment's own room, which no session may have."""

    @property
    def turn(self) -> str:
        """Greater than those of earlier writers of the records; empty until it is known."""

    @property
    def may_act(self) -> bool:
        """Whether this process may change rooms and sessions now."""

    @property
    def is_superseded(self) -> bool:
        """Whether a newer process has taken everything over, for good."""

    @property
    def why_not(self) -> str:
        """Why it may not act, when it may not. Contains no address and no secret."""

    def worker_name(self, agent_name: str) -> str:
        """The agent name under which LiveKit offers jobs to this process only."""

    def when_superseded(self, listener: Callable[[], None]) -> None:
        """Call `listener` at the moment at which this process learns that it is superseded. It must not block."""

    async def start(self, last_writer: str = "") -> None:
        """Begin to find out, in the background. `last_writer`: the turn that the records have."""

    async def aclose(self) -> None:
        """Act no more, and let others act at once. Nothing may be acting any more."""

    async def held(self) -> bool:
        """Wait, for a bounded time, until this process may act. Returns whether it may."""

    async def require(self) -> None:
        """Return when this process may act. Raises NotActing."""

    async def until_acting(self) -> None:
        """Return when this process may act. It may be never."""

    async def until_successor_stopped(self) -> None:
        """Return when this process is superseded, and the newer one has stopped. It may be never."""
