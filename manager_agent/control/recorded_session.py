"""The session that the record of a room has, as another process has left it, and the one to continue."""

from __future__ import annotations

from manager_agent.clock_origin import ClockOrigin
from manager_agent.frozen import replace
from manager_agent.livekit.listed_room import ListedRoom
from manager_agent.livekit.room_record import RecordedDispatches
from manager_agent.session.identities import Identities
from manager_agent.session.progress import SessionProgress
from manager_agent.session.resumption import resumed, revision_after
from manager_agent.session.session import Session
from manager_agent.session.specification import DamagedSpecification, Specification

CLOCKS_AGREE = 60.0
"""Seconds by which the clocks of two machines may differ without a correction; LiveKit may take a while to create a
room."""


def recorded_session(
    room: ListedRoom,
    recorded: RecordedDispatches,
    identities: Identities,
    *,
    origin: ClockOrigin | None,
    livekit_ahead: float,
    now: float,
    dispatch_at: float,
) -> Session:
    """The session of this room, with a manager to be dispatched at `dispatch_at`. Raises DamagedSpecification,
    NewerSpecification.

    `origin`: of our clock. `livekit_ahead`: the seconds by which LiveKit's clock is ahead of ours.
    """
    if room.status is None or room.status.progress is None:
        raise DamagedSpecification("this version can't read in the room's metadata how far the session is")
    progress, specification = room.status.progress, Specification.latest(recorded.specifications)
    if specification.session_id != room.session_id:
        raise DamagedSpecification("the specification is another session's")
    if progress.end_reason is None and _is_earlier(specification, progress):
        # To invite anew would put a second instance beside one that may serve, and is not known.
        raise DamagedSpecification("the specification of its latest attempt is missing")
    progress = progress.shifted(clock_ahead(progress, room.created_at, origin, livekit_ahead))
    return resumed(
        specification.session(),
        progress,
        revision=revision_after(room.status.revision, now - progress.created),
        room_sid=room.sid,
        manager_attempts=recorded.manager_attempts,
        identities=identities,
        now=now,
        dispatch_at=dispatch_at,
        dispatched_invites=recorded.invite_ids,
    )


def to_continue(recorded: Session, room: ListedRoom) -> Session:
    """The session of this room's record as it goes on. If it was not recorded completely, it is in another state than
    the record says, which begins with this revision."""
    if room.status is None or recorded.state is room.status.state:
        return recorded
    return replace(recorded, state_revision=recorded.revision)


def _is_earlier(specification: Specification, progress: SessionProgress) -> bool:
    """Whether the progress has a later attempt than the specification, so that the instance is not known."""
    pairs = zip(specification.services, progress.services, strict=False)
    return any(facts.attempt > service.attempt for service, facts in pairs)


def clock_ahead(
    progress: SessionProgress, room_created_at: float, origin: ClockOrigin | None, livekit_ahead: float
) -> float:
    """Seconds by which our clock is ahead of that of the process that recorded this; 0 if they agree. Decision 0031.

    `room_created_at`: by LiveKit's clock, which is the one that processes on different machines have in common.
    """
    if origin is not None and (ahead := origin.ahead_of(progress.clock)) is not None:
        return ahead
    ahead = (room_created_at - (progress.room_created or progress.created)) - livekit_ahead
    return ahead if abs(ahead) > CLOCKS_AGREE else 0.0
