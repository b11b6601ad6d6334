"""A manager in a room: what it sees, it reports to its replica, and it answers what services say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from manager_agent.session import events as ev
from manager_agent.session.events import Evidence, ParticipantInfo, Signal
from manager_agent.session.participant import Presence
from manager_agent.session.session import Session
from tests.simulation.simulated_livekit import SimulatedRoom
from tests.simulation.simulated_redis import SimulatedSession

if TYPE_CHECKING:
    from tests.simulation.simulated_replica import SimulatedReplica


class ManagerVisit:
    """It joins when it is made."""

    def __init__(self, replica: SimulatedReplica, room: SimulatedRoom, session_id: str, identity: str) -> None:
        self._replica, self._livekit = replica, replica.world.livekit
        self.room, self._id, self.identity = room, session_id, identity
        self._info = self._livekit.join(room, identity, is_agent=True, manager=self)
        self.is_in_room = self._info is not None
        if self._info is None:
            self._report(ev.ManagerFailed(self._replica.now, identity))
            return
        replica.visits[session_id] = self
        replica.world.judge.manager_joined(session_id)
        replica.later(0.05, self.report_all)

    def report_all(self) -> None:
        """Report all who are there, and those who are not although the session has them."""
        if not self.is_in_room:
            return
        now, stored = self._replica.now, self._replica.read(self._id)
        here = [one.info for one in self.room.with_(self.identity)]
        for info in here:
            self._report(ev.ParticipantSeen(now, info, self.identity))
        sids = {info.sid for info in here}
        for identity, presence in () if stored is None else _presences(stored.session):
            if presence.sid is not None and presence.sid not in sids and presence.seen_by == self.identity:
                self._report(ev.ParticipantLeft(now, identity, presence.sid, seen_by=self.identity))

    def participant_seen(self, participant: ParticipantInfo) -> None:
        self._replica.call(self._report_if_here, ev.ParticipantSeen, participant)

    def participant_left(self, participant: ParticipantInfo) -> None:
        self._replica.call(self._report_if_here, ev.ParticipantLeft, participant)

    def _report_if_here(self, kind: type, participant: ParticipantInfo) -> None:
        if not self.is_in_room:
            return
        now = self._replica.now
        if kind is ev.ParticipantSeen:
            self._report(ev.ParticipantSeen(now, participant, self.identity))
        else:
            self._report(ev.ParticipantLeft(now, participant.identity, participant.sid, seen_by=self.identity))

    def signalled(self, identity: str, signal: Signal, acknowledge: Callable[[], None]) -> None:
        """A service said something by RPC."""
        self._replica.call(self._take_signal, identity, signal, acknowledge)

    def _take_signal(self, identity: str, signal: Signal, acknowledge: Callable[[], None]) -> None:
        def recorded(stored: SimulatedSession | None, _: bool) -> None:
            if stored is not None and stored.session.has_applied(identity, signal):
                acknowledge()

        event = ev.ServiceSignalled(self._replica.now, identity, signal, Evidence.MESSAGE)
        if self.is_in_room and (loop := self._replica.loops.get(self._id)) is not None:
            self._replica.updates.update(self._id, event, recorded, fence=loop.fence)

    def disconnected(self) -> None:
        self._replica.call(self._lost)

    def _lost(self) -> None:
        if self.is_in_room:
            self._out()
            self._report(ev.ManagerFailed(self._replica.now, self.identity))

    def make_way(self, session: Session) -> None:
        """Another replica acts for the session: leave once its manager is in the room."""
        if session.over or (session.manager.identity != self.identity and session.manager.presence.here):
            self.leave()

    def leave(self) -> None:
        if self.is_in_room:
            self._out()
            if self._info is not None:
                self._livekit.leave(self.room, self.identity, self._info.sid)

    def _out(self) -> None:
        self.is_in_room = False
        if self._replica.visits.get(self._id) is self:
            del self._replica.visits[self._id]

    def vanish(self) -> None:
        """Its process is gone; LiveKit notices later."""
        self.is_in_room = False
        if self._info is not None:
            seconds = self.room.chances.uniform(1.0, 15.0)
            self._replica.world.heap.after(seconds, self._livekit.leave, self.room, self.identity, self._info.sid)

    def _report(self, event: ev.Event) -> None:
        loop = self._replica.loops.get(self._id)
        if loop is not None:
            self._replica.updates.update(self._id, event, fence=loop.fence, is_kept=True)


def _presences(session: Session) -> Iterator[tuple[str, Presence]]:
    yield session.user.identity, session.user_presence
    for service in session.services:
        yield service.identity or "", service.presence
