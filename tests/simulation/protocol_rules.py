"""The rules of the protocol between replicas and Redis that are not in manager_agent's pure modules, but in its scripts
and around its I/O. A test that breaks one of them, or one of those, must be found out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.simulated_redis import SimulatedSession


class ProtocolRules:
    capacity_is_checked_in_redis = True
    callbacks_are_in_the_outbox = True
    """Written in the same step as the change that they tell."""
    reads_what_is_newest = True
    """Whether a replica reads all that was written before it answers a request."""
    claims_until_kept = True
    """Whether the claim of an idempotency key ends only once the response is kept."""
    adds_only_under_a_claim = True
    """Whether Redis refuses a session of a request whose claim is not there any more."""
    takes_over = True
    begins_what_it_gains = True
    """Whether a replica that is made the owner of a session acts for it."""
    room_is_awaited = True
    """Whether a session is acknowledged only once its room exists."""
    stops_before_hand_over = True
    puts_back = True
    """Whether replicas store what Redis has lost."""
    puts_callbacks_back = True
    """With the session that they are of."""
    remembers_what_it_told = True
    """Whether a replica tells no callback again because Redis does not know that it was told."""
    recovers_rooms = True
    moves_rooms = True
    """Whether the room of a dead LiveKit node is moved to another one when a manager is sent."""
    takes_up_rooms = True
    """Whether a room that no LiveKit node has is taken up by one, to be deleted."""
    takes_only_from_the_dead = True

    def may_swap(self, known: SimulatedSession, expected: SimulatedSession) -> bool:
        """Whether a compare-and-set is carried out."""
        return (known.version, known.owner, known.fence) == (expected.version, expected.owner, expected.fence)


RULES = ProtocolRules()
