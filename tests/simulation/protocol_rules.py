"""The rules on which replicas act together. The simulation asks these, and a test that breaks one must be found out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.simulated_redis import StoredSession


class ProtocolRules:
    lease = 6.0
    """Seconds for which a replica may act after its lease was renewed."""
    renewal = 1.0
    """Seconds from one renewal to the next."""
    capacity_is_checked_in_redis = True
    callbacks_are_in_the_outbox = True
    tokens_are_read_from_what_is_newest = True
    """Whether a replica reads all that was written before it answers a request."""
    takes_over = True
    room_is_awaited = True
    """Whether a session is acknowledged only once its room exists."""
    stops_before_hand_over = True
    waits_for_recovery = True
    """Whether no session is made after Redis came back empty until the rooms were looked through."""

    def acts_until(self, sent_at: float, answered_at: float) -> float:
        """Until when a replica may act whose renewal was sent and answered at these instants."""
        return sent_at + self.lease

    def may_judge(self, now: float, back_since: float) -> bool:
        """Whether a replica that has reached Redis again at `back_since` may find others dead: they may not have
        renewed their leases since."""
        return now >= back_since + self.lease

    def is_dead(self, remaining: float) -> bool:
        return remaining < 0.0

    def may_inherit(self, age: float) -> bool:
        """Whether a replica that first renewed its lease so many seconds ago takes over: a new one can't judge yet."""
        return age >= self.lease + self.renewal

    def heir(self, session_id: str, alive: Sequence[str]) -> str:
        """Which of the replicas takes over a session: the one with the highest rendezvous hash."""
        return max(alive, key=lambda one: hashlib.blake2b(f"{session_id}/{one}".encode(), digest_size=8).digest())

    def may_swap(self, known: StoredSession, expected: StoredSession, fence: int) -> bool:
        """Whether a compare-and-set is carried out."""
        return (known.run, known.version, known.fence) == (expected.run, expected.version, fence)


RULES = ProtocolRules()
