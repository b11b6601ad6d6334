"""Participants with a token of another session. A room name that is used again opens to tokens of its earlier sessions.

PURE. Every token names its session in an attribute, which the holder can change only with the permission to update its
own metadata. LiveKit reports the attributes with each join.
"""

from __future__ import annotations

from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.events import ParticipantInfo
from manager_agent.session.participant import Trespasser
from manager_agent.session.session import Session

SESSION_ATTRIBUTE = "session.id"
"""The participant attribute with the id of the session that the participant's token belongs to."""
TRESPASSERS_KEPT = 32


def is_trespasser(session: Session, seen: ParticipantInfo) -> bool:
    """Whether the participant's token belongs to another session."""
    return seen.attributes.get(SESSION_ATTRIBUTE, session.session_id) not in ("", session.session_id)


def trespasser_seen(session: Session, seen: ParticipantInfo) -> Session:
    if any(one.sid == seen.sid for one in session.trespassers):
        return session
    kept = (*session.trespassers, Trespasser(seen.identity, seen.sid))[-TRESPASSERS_KEPT:]
    return replace(session, trespassers=kept)


def trespasser_left(session: Session, sid: str) -> Session:
    remaining = tuple(one for one in session.trespassers if one.sid != sid)
    return session if len(remaining) == len(session.trespassers) else replace(session, trespassers=remaining)


def trespasser_removal(session: Session, event: ev.RemovalStarted | ev.RemovalEnded) -> Session:
    """Its removal has begun, succeeded, or failed; a failed one is repeated."""
    if isinstance(event, ev.RemovalEnded) and event.removed:
        return trespasser_left(session, event.trespasser)

    def change(one: Trespasser) -> Trespasser:
        if one.sid != event.trespasser:
            return one
        if isinstance(event, ev.RemovalStarted):
            return one if one.removing else replace(one, removing=True, removals=one.removals.started(one.sid))
        return replace(one, removing=False, removals=one.removals.ended(event.at))

    changed = tuple(change(one) for one in session.trespassers)
    return session if changed == session.trespassers else replace(session, trespassers=changed)
