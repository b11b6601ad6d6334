"""A room as LiveKit lists it, and whose it is.

LiveKit's calls take room names, and a name may be another's room by now. So whatever changes a room looks at it first
and goes on only if the room is the one that was meant, unless the name can't be another's (decision 0042). LiveKit has
no conditional calls: between the look and the call (a millisecond) the room can be deleted and its name taken by
another. That remains possible.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from livekit.protocol.models import Room as RoomInfo

from manager_agent.messages import RoomOwner, RoomStatus
from manager_agent.session.session import Session


@dataclass(frozen=True, slots=True)
class ListedRoom:
    """A room listed by LiveKit. `is_ours`: created for a session of this deployment."""

    name: str
    sid: str
    session_id: str
    """The session that its metadata names; empty if none."""
    is_ours: bool
    status: RoomStatus | None = None
    """The status in its metadata; None if that is not a session manager's, or of another version that this one can't
    read."""
    created_at: float = 0.0
    """By LiveKit's clock."""
    is_blank: bool = False
    """Whether it has no metadata."""
    max_participants: int = 0
    """How many participants it lets in; 0: any number."""

    @property
    def is_over(self) -> bool:
        """Whether its metadata says that its session is over."""
        return self.status is not None and self.status.reason is not None

    @classmethod
    def of(cls, room: RoomInfo, deployment: str) -> ListedRoom:
        status, owner = RoomStatus.read(room.metadata), RoomOwner.read(room.metadata)
        return cls(
            name=room.name,
            sid=room.sid,
            session_id=owner.session_id if owner else "",
            is_ours=owner is not None and owner.deployment == deployment,
            status=status,
            created_at=room.creation_time_ms / 1000 or float(room.creation_time),
            is_blank=not room.metadata,
            max_participants=room.max_participants,
        )

    def is_room_of(self, session: Session) -> bool:
        """Whether it was created for the session."""
        return self.is_same(session.room.sid, session.session_id)

    def is_same(self, sid: str, session_id: str) -> bool:
        """Whether it has this sid or, if that is empty because LiveKit's response to the creation was lost, metadata
        that names this session."""
        return self.sid == sid if sid else self.session_id == session_id != ""

    def was_made_by_join(self, session_id: str) -> bool:
        """Whether LiveKit made it because a manager of this session joined."""
        return self.is_blank and self.max_participants == join_mark(session_id)


def join_mark(session_id: str) -> int:
    """What the token of a session's manager says of a room that LiveKit makes because the manager joins: it lets in so
    many participants.

    A number of the session's own, which no room reaches. For LiveKit also gives that limit to the session's room when a
    node takes it up again for the manager, and anything else that a token can set would change that room: metadata and
    dispatches are its record."""
    return 1 << 31 | zlib.crc32(session_id.encode())
