"""Sessions without a control loop, in states that tests want to see in a browser."""

from __future__ import annotations

from http_api.access.principals import DEVELOPER
from manager_agent.session import events as ev
from manager_agent.session.events import Event
from manager_agent.session.session import Session, User
from tests.unit.sessions import a_service, after, managed, seen

CALL = 2_400.0
"""Seconds that a user stays."""


def sample_session(
    number: int, at: float, *, services: int = 3, room: str = "", owner: str = DEVELOPER.name
) -> Session:
    """A session created at that time whose services have all joined."""
    required = tuple(a_service(f"worker-{entry}", "WORKER", f"http://127.0.0.1:1/{entry}") for entry in range(services))
    user = User(f"user-{number}")
    asked = Session(f"ses_{number:026}", room or f"room-{number:04}", user, at, required, owner=owner)
    return after(asked, *managed(at), *all_join(services, at))


def all_join(services: int, at: float) -> list[Event]:
    told: list[Event] = []
    for entry in range(services):
        identity = f"sm-worker-{entry}"
        told.append(ev.InviteStarted(at + 0.01, entry, 1, 1, identity, f"inv_{entry}"))
        told.append(ev.InviteAccepted(at + 0.02 + 0.01 * entry, entry, 1, 1))
        told.append(seen(identity, f"PA_{entry}", at + 0.1 + 0.02 * entry))
    return told


def user_comes(session: Session) -> Session:
    return after(session, seen(session.user.identity, "PA_user", session.created_at + 2))


def user_goes(session: Session) -> Session:
    """The user leaves after a long call and does not return."""
    left = session.created_at + CALL
    gone = ev.ParticipantLeft(left, session.user.identity, "PA_user")
    return after(session, gone, ev.DeadlinePassed(left + session.limits.user_rejoin_timeout))
