"""Humans besides the session's user who keep the session, like its user.

PURE. A page that asks the token endpoint for a room gets a new identity each time it is loaded: in a session opened by
the token endpoint, everyone to whom the endpoint gave a token is a guest.
"""

from __future__ import annotations

from collections.abc import Callable

from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.participant import Guest, Presence
from manager_agent.session.session import Session

GUESTS_MAX = 64
"""The number of guests remembered. Those who are not in the room are forgotten first."""


def token_given(session: Session, event: ev.TokenGiven) -> Session:
    session = replace(session, token_given_at=max(event.at, session.token_given_at))
    if not session.has_guests or event.identity == session.user.identity or session.guest(event.identity) is not None:
        return session
    guests = session.guests
    if len(guests) >= GUESTS_MAX:
        guests = tuple(guest for guest in guests if guest.presence.here)[-GUESTS_MAX + 1 :]
    return replace(session, guests=(*guests, Guest(event.identity)))


def guest_seen(session: Session, guest: Guest, see: Callable[[Presence], Presence]) -> Session:
    return _with_presence(session, guest, see(guest.presence))


def guest_left(session: Session, guest: Guest, leave: Callable[[Presence], Presence], at: float) -> Session:
    was, now = guest.presence, leave(guest.presence)
    left = _with_presence(session, guest, now)
    return left if (was.sid, was.gone) == (now.sid, now.gone) else replace(left, user_left_at=at)


def _with_presence(session: Session, guest: Guest, presence: Presence) -> Session:
    if presence is guest.presence:
        return session
    changed = replace(guest, presence=presence)
    return replace(session, guests=tuple(changed if one is guest else one for one in session.guests))
