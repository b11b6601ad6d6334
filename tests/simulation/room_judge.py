"""What must hold of LiveKit's rooms: none is left over, none is without a manager, and users have their services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from manager_agent.session.attempt import ServiceState
from tests.simulation.invariants import Invariant

if TYPE_CHECKING:
    from tests.simulation.judge import Judge
    from tests.simulation.world import World

ROOM_LEFT_MAX = 60.0
"""Seconds after the end of a session until which its room may exist, while LiveKit and Redis are well."""
MANAGER_BACK_MAX = 15.0
"""Seconds after the loss of a LiveKit node, and after the last fault, within which its rooms have managers again."""
TOGETHER_WITHIN = 35.0
"""Seconds after LiveKit's nodes hear of each other again within which a user has its services at the same node."""


class RoomJudge:
    def __init__(self, world: World, judge: Judge) -> None:
        self._world, self._heap, self._judge = world, world.heap, judge

    def session_ended(self, session_id: str, name: str) -> None:
        self._heap.after(ROOM_LEFT_MAX, self._check_room, session_id, name)

    def _check_room(self, session_id: str, name: str) -> None:
        """The room of a session that is over is gone."""
        if self._heap.now < self._judge.uneasy_until + ROOM_LEFT_MAX:
            self._heap.at(self._judge.uneasy_until + ROOM_LEFT_MAX, self._check_room, session_id, name)
            return
        livekit = self._world.livekit
        room = livekit.rooms.get(name) or livekit.nodeless.get(name)
        if room is not None and room.specified.session_id == session_id:
            truth = self._judge.sessions[session_id]
            if truth.ended_at is not None and self._heap.now >= truth.ended_at + ROOM_LEFT_MAX:
                self._judge.violated(Invariant.ROOM_LEFT, f"{name}, whose session ended with {truth.end}")

    def nodes_apart(self, until: float) -> None:
        """LiveKit's nodes do not hear of each other until then."""
        self._heap.at(until + TOGETHER_WITHIN, self._check_together)

    def _check_together(self) -> None:
        """No session says that it is active while its user is apart from a service that is ready. A user at an earlier
        node than others has to join again."""
        if self._heap.now < self._judge.latest_fault_until + TOGETHER_WITHIN:
            self._heap.at(self._judge.latest_fault_until + TOGETHER_WITHIN, self._check_together)
            return
        for stored in self._world.redis.sessions.values():
            session = stored.session
            room = self._world.livekit.rooms.get(session.room_name)
            if session.over or room is None or room.node_of(session.user.identity) != room.node:
                continue
            ready = [one.identity or "" for one in session.services if one.state is ServiceState.READY]
            if apart := [one for one in ready if room.node_of(one) not in (None, room.node)]:
                self._judge.violated(Invariant.APART, f"{session.session_id}: {', '.join(apart)}")

    def room_lost(self, session_id: str) -> None:
        """The LiveKit node of its room is dead."""
        self._judge.sessions[session_id].room_lost = True
        self._heap.after(MANAGER_BACK_MAX, self._check_manager, session_id)

    def _check_manager(self, session_id: str, tries: int = 3) -> None:
        """The session is over, or has a manager. It may lack one for a moment, when it is handed over."""
        stored, due = self._world.redis.sessions.get(session_id), self._judge.latest_fault_until + MANAGER_BACK_MAX
        if stored is None or stored.session.over:
            return
        if self._heap.now < due:
            self._heap.at(due, self._check_manager, session_id)
            return
        room = self._world.livekit.rooms.get(stored.session.room_name)
        if room is not None and list(room.managers):
            return
        if tries > 1:
            self._heap.after(2.0, self._check_manager, session_id, tries - 1)
        else:
            self._judge.violated(Invariant.NO_MANAGER, f"{session_id} is {stored.session.state}")
