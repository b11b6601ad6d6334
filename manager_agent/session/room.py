"""The room of a session: the progress of its creation, what LiveKit's answers say about its end, and how it is made
again.

PURE. LiveKit's lists of rooms are not always true: a room may be missing for a while, and one of a node that was killed
stays listed. So a room that LiveKit does not know is only missed, until it was missed for some time.

Before anyone is in it, a room that seems to be lost is made again. LiveKit's answer says what is true: if it returns
the room that we have, the room was never lost.
"""

from __future__ import annotations

import math

from manager_agent.backoff import doubling
from manager_agent.frozen import Frozen, replace
from manager_agent.session.events import RoomMissed

ROOM_MISSES_MAX, ROOM_MISSED_FOR = 3, 1.0
"""A room is closed when LiveKit did not know it so many times in a row, the last so many seconds after the first."""
ROOM_DOUBTED_FOR = 30.0
"""The same when LiveKit misses the rooms of several sessions at once: its listing is more likely to be wrong."""
REMAKES_MAX = 5
"""How often the room of a session is made again."""
REMAKE_PAUSE, REMAKE_PAUSE_MAX = 1.0, 16.0
"""The least seconds from one room of a session to the next, if the first of them was made again itself. Doubles with
every further one, up to the maximum. The same after each time that LiveKit did not make it."""
FOUND_PAUSE = 5.0
"""Seconds for which a room that LiveKit's lists lack is not made again after it turned out to exist."""


def generated_room_name(session_id: str) -> str:
    """The name of the room of a session whose client asked for none. No other application gives it to a room: it has
    the random part of the session's id."""
    return f"room-{session_id.removeprefix('ses_').lower()}"


class Room(Frozen):
    """The LiveKit room and the progress of its creation."""

    requested_at: float | None = None
    sid: str = ""
    created_at: float | None = None
    refused: bool = False
    taken: bool = False
    """A room of this name exists and is not ours. It must not be touched."""
    misses: int = 0
    """Queries in a row for which LiveKit did not know the room, counted up to ROOM_MISSES_MAX."""
    missed_since: float = math.inf
    """When the first of them was sent."""
    missed_at: float = -math.inf
    """When the latest of them was answered."""
    reported_closed: bool = False
    """A webhook reported that it is closed while the manager was in it."""
    silent_since: float | None = None
    """Since when the node that should have the room has not answered."""
    lost_since: float | None = None
    """Since when it seems to be lost, and is to be made again if no person is in it."""
    remaking_since: float | None = None
    """When LiveKit was asked to make it again, until it responds."""
    remakes: int = 0
    """How often it was lost and made again."""
    refusals: int = 0
    """How often in a row LiveKit did not make it again. It may have, if its response was lost."""
    retry_at: float = -math.inf
    """It does not count as lost, and is not made again, before this instant."""
    previous_lost_at: float | None = None
    """When the room before this one was lost."""

    @property
    def is_refused_name(self) -> bool:
        """Whether the name was another's when the room was to be created: there never was one."""
        return self.taken and self.created_at is None

    @property
    def asked_since(self) -> float | None:
        """When LiveKit was asked to make it, until it responds."""
        if self.created_at is None:
            return None if self.refused else self.requested_at
        return self.remaking_since

    @property
    def was_made(self) -> bool:
        """Whether LiveKit has made it, or one before it."""
        return self.sid != "" or self.remakes > 0

    @property
    def in_flight(self) -> bool:
        """LiveKit was asked to make it and has not responded yet."""
        return self.asked_since is not None

    @property
    def may_be_replaced(self) -> bool:
        """Whether LiveKit was asked to make it again and did not say what came of it. What it lists then may be of the
        next room."""
        return self.remaking_since is not None or self.refusals > 0

    @property
    def is_undisputed(self) -> bool:
        """Whether LiveKit has made it, and nothing says that it is gone or that another one may be in its place."""
        return self.sid != "" and not self.is_suspected_closed and not self.may_be_replaced

    @property
    def only_sid(self) -> str:
        """The sid of the only room that LiveKit may have for the session; empty if it may have another one too."""
        return "" if self.may_be_replaced else self.sid

    @property
    def remake_at(self) -> float:
        """When to make it again; infinity while it does not seem to be lost."""
        if self.lost_since is None or self.remaking_since is not None or self.created_at is None:
            return math.inf
        pause = doubling(self.remakes, first=REMAKE_PAUSE, most=REMAKE_PAUSE_MAX) if self.remakes else 0.0
        return max(self.lost_since, self.created_at + pause, self.retry_at)

    def lost(self, at: float) -> Room:
        """It seems to be lost."""
        return self if self.lost_since is not None else replace(self, lost_since=at)

    def found(self, at: float) -> Room:
        """LiveKit has it still, although its lists lack it."""
        return Room(
            requested_at=self.requested_at,
            sid=self.sid,
            created_at=self.created_at,
            remakes=self.remakes,
            retry_at=at + FOUND_PAUSE,
            previous_lost_at=self.previous_lost_at,
        )

    def made_again(self, sid: str, at: float) -> Room:
        """Another room has taken its place."""
        lost_at = at if self.lost_since is None else self.lost_since
        remakes = self.remakes + 1
        return Room(self.requested_at, sid, created_at=at, remakes=remakes, previous_lost_at=lost_at)

    def not_made_again(self, at: float) -> Room:
        """LiveKit did not make it again."""
        refusals = self.refusals + 1
        pause = doubling(refusals, first=REMAKE_PAUSE, most=REMAKE_PAUSE_MAX)
        return replace(self, remaking_since=None, refusals=refusals, retry_at=at + pause)

    def unwatched(self) -> Room:
        """Its manager is gone. What LiveKit's lists lacked while the manager was there does not count any longer."""
        return replace(self, misses=0, missed_since=math.inf) if self.misses else self

    @property
    def is_suspected_closed(self) -> bool:
        return self.reported_closed or self.misses > 0 or self.lost_since is not None

    def missed(self, event: RoomMissed) -> Room:
        """LiveKit did not know the room. Queries that were sent before the previous one was answered count once."""
        if event.asked_at <= self.missed_at:
            return self
        misses = min(self.misses + 1, ROOM_MISSES_MAX)
        since = min(self.missed_since, event.asked_at)
        return replace(self, misses=misses, missed_since=since, missed_at=event.at)

    def listed(self, asked_at: float, is_silent: bool) -> Room:
        """LiveKit knew the room when asked at `asked_at`."""
        if asked_at < self.missed_at:
            return self
        since = asked_at if self.silent_since is None else self.silent_since
        room = replace(self, silent_since=since) if is_silent else self.answered()
        if not self.is_suspected_closed:
            return room
        return replace(room, misses=0, missed_since=math.inf, reported_closed=False, lost_since=None)

    def answered(self) -> Room:
        """Its node answers, or all of LiveKit is away and not only that node."""
        return self if self.silent_since is None else replace(self, silent_since=None)

    def is_missed_for_good(self, event: RoomMissed, *, is_doubted: bool) -> bool:
        """Whether LiveKit has not known the room for long enough to believe it."""
        missed_for = ROOM_DOUBTED_FOR if is_doubted else ROOM_MISSED_FOR
        return self.misses == ROOM_MISSES_MAX and event.asked_at >= self.missed_since + missed_for
