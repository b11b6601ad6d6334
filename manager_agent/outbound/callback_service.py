"""What the rest of the program needs of callbacks, whether there are other replicas or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from manager_agent.outbound.deliveries import DeliveryLog, DeliveryState
from manager_agent.store.store import Change


class CallbackService(Protocol):
    @property
    def delivery_log(self) -> DeliveryLog:
        """The outcome of each event."""

    @property
    def finished(self) -> Mapping[DeliveryState, int]:
        """Number of events that this process has delivered and given up."""

    @property
    def pending(self) -> int:
        """Number of events that are under way or wait in this process."""

    def tell(self, change: Change) -> None:
        """A listener of the store."""

    async def start(self) -> None: ...

    async def restore(self) -> None:
        """Take over what an earlier process left. Call it once, before sessions are restored."""

    async def aclose(self) -> None: ...
