"""Whether LiveKit misses so many rooms at once that its lists are more likely to be wrong than the rooms closed."""

from __future__ import annotations

import structlog

from manager_agent.control.late_join_policy import Latest
from manager_agent.session.events import RoomMissed
from manager_agent.session.session import Session

log = structlog.get_logger()

FEW, WITHIN = 3, 60.0
"""When LiveKit misses the rooms of more than so many sessions within so many seconds, its lists are doubted."""


class MissedRooms:
    """The rooms of all sessions that LiveKit did not know lately."""

    def __init__(self) -> None:
        self._missed = Latest[str](WITHIN)
        self._are_doubted = False

    def missed(self, session: Session, asked_at: float, now: float, *, is_replaced: bool = False) -> RoomMissed:
        """The event for a room that LiveKit did not know when asked at `asked_at`. Log it, once until LiveKit knows the
        room again. Its answer is doubted for longer if it misses the rooms of other sessions too. `is_replaced`: the
        name is another room's by now."""
        if not session.room.misses:
            log.warning("room_missed", **session.log_fields)
        self._missed.record(session.session_id, now)
        missed = self._missed.count(now)
        if missed > FEW and not self._are_doubted:
            log.warning("room_list_doubted", missed=missed)
        self._are_doubted = missed > FEW
        return RoomMissed(now, asked_at, self._are_doubted, is_replaced)
