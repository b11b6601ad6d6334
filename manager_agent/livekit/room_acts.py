"""What this process is about to do to a room: refused if another replica acts for the session, and logged with the
session's fencing number, so that it can be checked afterwards that never two acted at the same time."""

from __future__ import annotations

from collections.abc import Callable

import structlog

log = structlog.get_logger()

FenceOf = Callable[[str], int | None]
"""Returns the fencing number with which this process acts for the session with this id; None if it needs none: the
session is unknown or cleaned up, or there are no replicas. Raises NotActing."""


class RoomActs:
    def __init__(self, fence_of: FenceOf = lambda _: None, known_fence: FenceOf = lambda _: None) -> None:
        """`known_fence`: the session's latest fencing number, whichever replica it is of; raises nothing."""
        self._fence_of, self._known_fence = fence_of, known_fence

    def begin(self, act: str, session_id: str, room_name: str) -> None:
        """Call it right before the act. Raises NotActing."""
        log.debug("room_act", act=act, session_id=session_id, room=room_name, fence=self._fence_of(session_id))

    def note(self, act: str, session_id: str, room_name: str) -> None:
        """The same for what any replica may do, such as to give a user a token."""
        log.debug("room_act", act=act, session_id=session_id, room=room_name, fence=self._known_fence(session_id))
