"""How many sessions a replica hands over, which, and to whom, so that all have about the same number. PURE."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from itertools import islice

from manager_agent.replicas.lease import Roll
from manager_agent.session.session import Session

TOLERANCE = 0.2
"""A replica that has at most so much more than the mean, as a share of it, hands nothing over."""
SETTLED = 3.0
"""Seconds for which a manager is in its room before the session is handed over, again."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Sessions to hand over now, by the replica that is to have them."""

    counts: Mapping[str, int]

    @property
    def targets(self) -> Iterator[str]:
        """The replica of each of the sessions."""
        for replica_id, count in self.counts.items():
            yield from [replica_id] * count


NOTHING = Transfer({})


def spread(own_id: str, live: Mapping[str, int], roll: Roll, most: int) -> Transfer:
    """What the replica `own_id` hands over now: at most `most` sessions. `live`: how many live sessions each replica
    has.

    All replicas decide at once and don't talk to each other. So each finds out which place every session gets that is
    too much anywhere, and fills the places of its own.
    """
    if own_id not in roll.alive:
        return NOTHING
    staying = {one.replica_id: live.get(one.replica_id, 0) for one in roll.alive.values() if not one.is_draining}
    leaving = {one.replica_id: live.get(one.replica_id, 0) for one in roll.alive.values() if one.is_draining}
    absent = {one.replica_id for one in roll.alive.values() if not one.can_take}
    staying = {one: number for one, number in staying.items() if number or one not in absent}
    if not staying:
        return NOTHING
    target = math.ceil((sum(staying.values()) + sum(leaving.values())) / len(staying))
    excess = {one: number for one, number in leaving.items() if number}
    excess |= {one: number - target for one, number in staying.items() if _is_too_much(number, target)}
    room = {one: target - number for one, number in staying.items() if number < target and one not in absent}
    if own_id not in excess or not room:
        return NOTHING
    first = sum(number for one, number in excess.items() if one < own_id)
    places = islice(_places(room), first, first + min(excess[own_id], most))
    return Transfer(Counter(places))


def is_settled(session: Session, now: float) -> bool:
    """Whether the session may be handed over now without a gap: nothing that this replica has begun for it is under
    way, and its manager has been in the room for a while."""
    if session.over:
        return session.is_cleaned_up
    manager, room = session.manager, session.room
    if manager.joined_at is None or not manager.presence.here or now < manager.joined_at + SETTLED:
        return False
    is_room_well = room.created_at is not None and not room.in_flight and not room.is_suspected_closed
    return is_room_well and not any(service.current.is_under_way for service in session.services)


def _is_too_much(number: int, target: int) -> bool:
    """`target` is the mean, rounded up: what is handed over never comes back."""
    return number > target * (1 + TOLERANCE)


def _places(room: Mapping[str, int]) -> Iterator[str]:
    """The replicas that have room, again and again, those with the most first."""
    heap = [(-number, one) for one, number in room.items()]
    heapify(heap)
    while heap:
        number, one = heap[0]
        yield one
        if number == -1:
            heappop(heap)
        else:
            heapreplace(heap, (number + 1, one))
