"""Which of several replicas delivers the events of a session: the one that owns it, or the last one that did."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from manager_agent.drop_oldest import drop_oldest
from manager_agent.outbound.shared_deliveries import SharedDeliveries
from manager_agent.store.redis import RedisStore
from manager_agent.store.store import UnknownSession

HELD_FOR = 8.0
"""Seconds for which a new owner waits for the former one's last try: longer than a try takes."""
LEFT_HERE_MAX = 10_000
"""Removed sessions of which this replica remembers that it owned them last."""


class OtherReplicas(Protocol):
    @property
    def is_leader(self) -> bool:
        """Whether this replica does what only one may do."""

    def is_alive(self, replica_id: str) -> bool:
        """Whether this replica may still act; if not, others do what it did."""


class Deliverers:
    def __init__(self, deliveries: SharedDeliveries, store: RedisStore) -> None:
        self._deliveries, self._store = deliveries, store
        self._left_here: dict[str, None] = {}
        """The removed sessions that this replica owned last."""

    def delivers(self, session_id: str) -> bool:
        """Whether this replica delivers the events of the session."""
        return self.deliverer(session_id) == self._store.replica_id

    def deliverer(self, session_id: str) -> str:
        """The replica that delivers the events of the session; empty: none does."""
        owner = self.owner(session_id)
        if owner is not None:
            return owner
        for kept in self._deliveries.pending(session_id):
            if kept.replica:
                return kept.replica
        return self._store.replica_id if session_id in self._left_here else ""

    def owner(self, session_id: str) -> str | None:
        """None: the session is not known."""
        if (unreadable := self._store.unreadable.get(session_id)) is not None:
            return unreadable.stored.ownership.owner
        try:
            return self._store.ownership(session_id).owner
        except UnknownSession:
            return None

    def removed_here(self, session_id: str) -> None:
        """A session was removed that this replica owned: it delivers what is left."""
        self._left_here[session_id] = None
        drop_oldest(self._left_here, LEFT_HERE_MAX)
        self._deliveries.assign(session_id, self._store.replica_id)


@dataclass(slots=True, eq=False)
class _Hold:
    """The former owner may be trying to deliver an event."""

    events: list[str]
    """Ids of those that it may still try, in their order: it does not go on with the next one once it has read that it
    lost the session, but it may have begun that before."""
    former: str
    is_over: asyncio.Event = field(default_factory=asyncio.Event)


class FormerOwners:
    """The sessions whose former owners may still be trying to deliver an event.

    A former owner that reads that it lost a session records how its first pending event is, after its try if one is
    under way. Until then it may have finished events and gone on with the next one.
    """

    def __init__(self, replicas: OtherReplicas) -> None:
        self._replicas = replicas
        self._holds: dict[str, _Hold] = {}

    def hold(self, session_id: str, events: Sequence[str], former: str) -> None:
        """This replica owns the session now. `events`: ids of those that are pending, in their order."""
        if self._replicas.is_alive(former):
            self._holds[session_id] = _Hold(list(events), former)

    def heard(self, session_id: str, event_id: str, *, is_pending: bool) -> None:
        """Something was recorded about this event."""
        hold = self._holds.get(session_id)
        if hold is None or event_id not in hold.events:
            return
        if not is_pending:
            hold.events.remove(event_id)
        if not hold.events or (is_pending and event_id == hold.events[0]):
            self.release(session_id)

    def release(self, session_id: str) -> None:
        if (hold := self._holds.pop(session_id, None)) is not None:
            hold.is_over.set()

    def release_those_of_the_dead(self) -> None:
        for session_id, hold in list(self._holds.items()):
            if not self._replicas.is_alive(hold.former):
                self.release(session_id)

    async def until_released(self, session_id: str) -> None:
        """Return once the former owner of the session tries no more."""
        if (hold := self._holds.get(session_id)) is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(HELD_FOR):
                await hold.is_over.wait()
        if self._holds.get(session_id) is hold:
            del self._holds[session_id]
