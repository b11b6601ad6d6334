"""Until when a session may wait: for its services, its user, its manager, a replacement. PURE."""

from __future__ import annotations

from collections.abc import Iterator

from manager_agent.session.session import EndReason, Session, SessionState

FRUITLESS_DISPATCHES_MAX = 3
"""A waiting session fails after this many dispatches in a row whose manager did not join or did not stay..."""
DISPATCHES_SHARE = 1 / 3
"""...but not before this share of its ready timeout is over: on a busy machine a manager takes longer to join, and a
longer ready timeout allows for that. A session whose room was made again waits until its deadline: LiveKit has just
come back, and may let no manager in yet."""

SILENCE_MAX = 60.0
"""Seconds for which a room may be without a manager and its node silent: the node is dead, whatever LiveKit lists."""


def deadline(session: Session) -> tuple[float, EndReason] | None:
    """The next instant at which the session ends unless something happens first, and the reason it would have."""
    return None if session.end is not None else _deadline(session, session.state)


def _deadline(session: Session, state: SessionState) -> tuple[float, EndReason]:
    """That of a session which is in this state, and not over."""
    limits, since = session.limits, session.state_since
    ends = [(session.created_at + limits.max_duration, EndReason.EXPIRED)]
    if session.room.silent_since is not None:
        ends.append((session.room.silent_since + SILENCE_MAX, EndReason.ROOM_CLOSED))
    match state:
        case SessionState.WAITING:
            ends.append((session.ready_deadline, EndReason.READY_TIMEOUT))
            dispatch_at = session.manager.next_dispatch_at
            has_tried = dispatch_at >= session.created_at + limits.ready_timeout * DISPATCHES_SHARE
            is_fruitless = has_tried and session.manager.fruitless >= FRUITLESS_DISPATCHES_MAX
            if is_fruitless and not session.room.remakes:
                ends.append((dispatch_at, EndReason.ROOM_UNAVAILABLE))
        case SessionState.READY if session.user_left_at is not None:
            latest = max(since, session.user_left_at, session.token_given_at) + limits.user_rejoin_timeout
            ends.append((latest, EndReason.USER_LEFT))
        case SessionState.READY:
            ready_at = since if session.ready_at is None else session.ready_at
            latest = max(ready_at, session.token_given_at) + limits.user_join_timeout
            if since > ready_at:  # ready again: no user could join in between
                latest = max(latest, since + limits.user_rejoin_timeout)
            ends.append((latest, EndReason.USER_NEVER_JOINED))
        case SessionState.DEGRADED:
            ends.append((since + limits.replacement_timeout, EndReason.SERVICE_LOST))
    return min(ends)


def join_deadline(session: Session, now: float) -> float:
    """The instant until which someone who gets a token now can rely on the session, unless it is ended by request: it
    lasts until then even if the room stays empty, or becomes empty at once."""
    match state := session.state:
        case SessionState.READY:
            return _deadline(session, state)[0]
        case SessionState.ACTIVE:
            return min(_deadline(session, state)[0], now + session.limits.user_rejoin_timeout)
    return now + session.limits.user_join_timeout


def invite_deadline(session: Session, now: float) -> float:
    """Until when to wait for a service invited at `now`: the session's ready deadline, or, for a replacement of a lost
    service, the replacement timeout from now."""
    return session.ready_deadline if session.ready_at is None else now + session.limits.replacement_timeout


def appearance_deadlines(session: Session) -> Iterator[tuple[int, float]]:
    """The entries whose service signaled ready by HTTP and was not seen in the room yet, each with the instant by which
    it must be there."""
    for entry, service in enumerate(session.services):
        since = service.current.unseen_since
        if since is not None:
            yield entry, since + session.limits.service_join_timeout
