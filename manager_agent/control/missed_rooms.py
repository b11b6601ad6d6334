"""Whether LiveKit misses so many rooms at once that its lists are more likely to be wrong than the rooms closed."""

from __future__ import annotations

import structlog

from manager_agent.control.late_join_policy import Latest

log = structlog.get_logger()

FEW, WITHIN = 3, 60.0
"""When LiveKit misses the rooms of more than so many sessions within so many seconds, its lists are doubted."""


class MissedRooms:
    """The rooms of all sessions that LiveKit did not know lately."""

    def __init__(self) -> None:
        self._missed = Latest[str](WITHIN)
        self._are_doubted = False

    def is_doubted(self, session_id: str, now: float) -> bool:
        """Record that LiveKit does not know the room of this session. Returns whether its answer is to be doubted for
        longer, because it misses the rooms of other sessions too."""
        self._missed.record(session_id, now)
        missed = self._missed.count(now)
        if missed > FEW and not self._are_doubted:
            log.warning("room_list_doubted", missed=missed)
        self._are_doubted = missed > FEW
        return self._are_doubted
