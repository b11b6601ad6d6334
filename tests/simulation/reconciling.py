"""What the leader does: compares sessions with LiveKit's rooms, and recovers the rooms that have no session."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from manager_agent.replicas.rendezvous import chosen
from manager_agent.session import events as ev
from manager_agent.session.progress import SessionProgress
from manager_agent.session.resumption import resumed, revision_after
from manager_agent.session.session import Session
from manager_agent.session.specification import Specification
from tests.simulation.protocol_rules import RULES
from tests.simulation.room_deletion import delete_room
from tests.simulation.simulated_livekit import LiveKitAway, SimulatedRoom

if TYPE_CHECKING:
    from manager_agent.replicas.lease import Roll
    from tests.simulation.simulated_redis import SimulatedSession
    from tests.simulation.simulated_replica import SimulatedReplica
    from tests.simulation.world import World

INTERVAL, AFTER_LOSS = 10.0, 6.0
"""Seconds between two rounds, and until the first one after Redis came back: replicas put back what it lost before."""
RECOVERED_PER_SECOND = 20.0
"""How many managers are dispatched in recovered rooms, by all replicas together."""


class SimulatedReconciler:
    def __init__(self, world: World) -> None:
        self._world, self._heap = world, world.heap
        self._next_at = self._heap.now + INTERVAL
        self._run = self._world.redis.run
        self.recovered = 0

    def lead(self, replica: SimulatedReplica, roll: Roll) -> None:
        """Called with each renewal: only the leader goes on."""
        if roll.leader != replica.id or not replica.may_act:
            return
        now = self._heap.now
        if self._run != self._world.redis.run:
            self._run, self._next_at = self._world.redis.run, now + AFTER_LOSS
        if now < self._next_at:
            return
        self._next_at = now + INTERVAL
        replica.ask_livekit(self._world.livekit.listed_rooms, lambda rooms: self._compare(replica, now, rooms))

    def _compare(self, replica: SimulatedReplica, asked_at: float, rooms: object) -> None:
        if not isinstance(rooms, list) or not replica.may_act:
            return
        redis, listed = self._world.redis, {room.sid for room in rooms}
        for session_id, stored in list(redis.sessions.items()):
            session, created_at = stored.session, stored.session.room.created_at
            if session.over or created_at is None or created_at >= asked_at or session.room.sid in listed:
                continue
            event = ev.RoomMissed(self._heap.now, asked_at)
            replica.updates.update(session_id, event, fence=None)
        unowned = [room for room in rooms if self._is_over(room) is not False]
        left = {room.sid for room in unowned}

        def done(room: SimulatedRoom | None) -> None:
            """All rooms were looked through once each of them is taken care of."""
            left.discard("" if room is None else room.sid)
            if not left and not redis.is_recovered:
                replica.link.ask(self._is_recovered, lambda _: None, lambda: None)

        for nth, room in enumerate(unowned if RULES.recovers_rooms else ()):
            self._recover(replica, room, nth, partial(done, room))
        done(None)

    def _is_over(self, room: SimulatedRoom) -> bool | None:
        """Whether the session of the room is over and its room was deleted; None: the session is not known."""
        stored = self._world.redis.sessions.get(room.specified.session_id)
        return None if stored is None else stored.session.is_cleaned_up

    def _is_recovered(self) -> None:
        self._world.redis.is_recovered, self._world.redis.was_emptied = True, False
        self._world.judge.recount()

    def _recover(self, replica: SimulatedReplica, room: SimulatedRoom, nth: int, done: Callable[[], None]) -> None:
        """`done`: called once the room is taken care of."""
        try:
            replica.require_livekit()
            if self._is_over(room) or (room.recorded is not None and room.recorded.over):
                delete_room(self._world.livekit, room.name, room.sid)
                done()
                return
        except LiveKitAway:
            return
        session = self._resumed(room, self._heap.now + nth / RECOVERED_PER_SECOND)
        owner = chosen(session.session_id, [one.replica_id for one in replica.membership.roll.takers] or [replica.id])

        def restored(stored: SimulatedSession) -> None:
            self.recovered += 1
            replica.learn(stored.session.session_id, stored)
            done()

        replica.link.ask(lambda: self._world.redis.restore(session, owner), restored, lambda: None)

    def _resumed(self, room: SimulatedRoom, dispatch_at: float) -> Session:
        """As a process that starts recovers it, from what the room has."""
        now, recorded = self._heap.now, room.recorded or room.specified
        specification = Specification.of(recorded).session()
        revision = revision_after(recorded.revision, now - specification.created_at)
        return resumed(
            specification,
            SessionProgress.of(recorded),
            revision=revision,
            room_sid=room.sid,
            manager_attempts=room.dispatches,
            identities=self._world.identities,
            now=now,
            dispatch_at=dispatch_at,
        )
