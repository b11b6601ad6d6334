"""The record that a try of an invite is about to be sent: who is invited, under which identity and invite id. PURE."""

from __future__ import annotations

from manager_agent.events import Chosen, InviteStarted
from manager_agent.names import Names
from manager_agent.services import Service
from manager_agent.session import Session


def invite_started(
    names: Names, session: Session, entry: int, *, attempt: int, tries: int, at: float, instead: Service | None = None
) -> InviteStarted:
    """Try number `tries` of attempt number `attempt` for this entry of the session.

    `instead`: who is invited, where the entry does not say it: another instance, or the same as it is registered now.
    """
    service = session.services[entry]
    who = instead or service
    if attempt == service.attempt:
        identity = service.identity
    elif who.agent_name is not None:
        identity = None  # LiveKit's dispatch gives it one
    else:
        identity = names.service(session.session_id, entry, who.service_id, attempt)
    chosen = None if instead is None else Chosen(who.service_id, who.type, who.endpoint, who.agent_name, who.ready_on)
    return InviteStarted(
        at, entry, attempt, tries, identity, names.invite(session.session_id, entry, attempt), instead=chosen
    )
