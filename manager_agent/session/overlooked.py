"""Participants that the manager does not see although they are in its room.

PURE. LiveKit has a room at one node. While its nodes take each other for dead, as when their Redis is away for seconds,
a node may take up a room that another one still has. Then the room is at both: those at one node neither see nor hear
those at the other, everyone who joins from now on comes to the later node, and webhooks and listings tell of both.

So if the manager does not see a participant, another manager is put in charge, which joins at the later node. A service
that was there by then and that the next manager does not see either is at the earlier node itself: it is lost, and
replaced. So is one that the manager does not see while it sees a user: a manager is not taken away from the users. A
user at the earlier node has to join again: LiveKit can't move participants.

One manager alone proves little. Its own connection may be dead, which the SDK notices after 15 seconds: until then it
hears of no one who joined at the same moment as it, or later.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from manager_agent.session.participant import Presence
from manager_agent.session.session import Session

OVERLOOKED_AFTER = 12.0
"""Seconds in which the manager must see a participant. LiveKit tells it within 2.5 as a rule, and within some 10 while
it waits for its Redis."""


def relief_at(session: Session) -> float:
    """When another manager is to be put in charge because a listing has confirmed that the present one overlooks
    someone; infinity: it does not, or another one would not help."""
    return min((due for due in _reliefs(session) if due <= session.listed_as_of), default=math.inf)


def services_apart(session: Session) -> Iterator[tuple[int, float]]:
    """The entries whose service is apart from the manager and those whom it sees, each with the instant of which a
    listing has to confirm it."""
    for entry, service in enumerate(session.services):
        if service.current.lost or (since := _overlooked_since(session, service.presence)) is None:
            continue
        if _was_there_at_relief(session, service.presence) or _sees_humans(session):
            yield entry, since + OVERLOOKED_AFTER


def overlooked_check_at(session: Session) -> float:
    """When to list the room to confirm that the manager overlooks someone; infinity: there is no need."""
    answered_at = max(session.listed_as_of, session.room.missed_at)
    dues = [*_reliefs(session), *(due for _, due in services_apart(session))]
    return min((due for due in dues if due > answered_at), default=math.inf)


def _reliefs(session: Session) -> Iterator[float]:
    """The instants of which a listing has to confirm that the manager overlooks someone whom another might see."""
    if _sees_humans(session):
        return
    for presence in (*_humans(session), *(service.presence for service in session.services)):
        since = _overlooked_since(session, presence)
        if since is not None and not _was_there_at_relief(session, presence):
            yield since + OVERLOOKED_AFTER


def _was_there_at_relief(session: Session, presence: Presence) -> bool:
    """Whether it had joined when a manager was last replaced for its sake or another's."""
    relieved_at, joined_at = session.manager.relieved_at, presence.reported_at
    return relieved_at is not None and joined_at is not None and joined_at <= relieved_at


def _overlooked_since(session: Session, presence: Presence) -> float | None:
    """Since when the manager might have seen this participant, which it does not; None if it does, or need not."""
    watched_since, joined_at = session.manager.presence.reported_at, presence.reported_at
    if session.watching is None or watched_since is None or joined_at is None or session.room.silent_since is not None:
        return None
    is_in_doubt = presence.may_be_unseen or presence.is_replaced or presence.misses > 0
    return None if is_in_doubt or session.is_watched(presence) else max(watched_since, joined_at)


def _humans(session: Session) -> tuple[Presence, ...]:
    return session.user_presence, *(guest.presence for guest in session.guests)


def _sees_humans(session: Session) -> bool:
    return any(presence.here and session.is_watched(presence) for presence in _humans(session))
