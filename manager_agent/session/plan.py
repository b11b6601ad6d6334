"""What to do next for a session: `plan(session, now, thawed_at) -> Plan`.

PURE. The plan depends only on the session, so a process that takes over a session continues where it stood. An action
in progress is a fact of the session (requested, in flight, listing since), which the control loop records before the
I/O. Otherwise the action would be planned again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from manager_agent.backoff import backoff
from manager_agent.frozen import Frozen, replace
from manager_agent.session.attempt import Attempt, ServiceState
from manager_agent.session.deadlines import appearance_deadlines, deadline
from manager_agent.session.overlooked import overlooked_check_at, relief_at
from manager_agent.session.participant import StaleParticipant
from manager_agent.session.retries import replace_at, resend_at
from manager_agent.session.session import Session

BLIND_LISTING_INTERVAL = 0.2
"""Seconds between two listings of a room whose webhooks do not arrive, while services are awaited."""
WAITING_LISTING_INTERVAL, LISTING_INTERVAL = 5.0, 60.0
"""Seconds between two listings of any other room: while services are awaited or no manager is in charge, and when all
are ready and were seen. Listings find changes that were not reported."""
DOUBT_PAUSES = 0.1, 1.0
"""Seconds until LiveKit is asked again after one answer that lacked a participant, and after each further one."""
THAW_GRACE = 5.0
"""Seconds after a standstill of the process, for what happened meanwhile to arrive: nothing is found overdue before. A
manager that was removed from its room has to come back first, as services say in the room that they are ready."""
RELIEF_NOTICED = 1.0
"""Seconds in which the manager of another process leaves by itself when the next one is there, unless it is frozen."""
UNCLEANED_KEPT = 120.0
"""The least seconds for which a session is kept whose room can't be deleted."""
NAME_QUARANTINE = 30.0
"""Seconds for which the name of a deleted room is not reused (livekit/livekit#4726)."""


class CreateRoom(Frozen):
    """Create the room and dispatch the manager in the same call. Also to make a room again that seems to be lost."""


class DispatchManager(Frozen):
    attempt: int


class SendInvite(Frozen):
    entry: int
    attempt: int
    tries: int


class Replace(Frozen):
    """Choose an instance for this entry after a failed attempt: another one, or the same."""

    entry: int
    attempt: int


class Remove(Frozen):
    """Remove a stale participant from the room, or the participant of another session with the sid `trespasser`."""

    identity: str
    trespasser: str = ""


class ListRoom(Frozen):
    """Ask LiveKit for the room's participants."""


class CheckDeadline(Frozen):
    """End the session if its deadline has passed."""


class CleanUp(Frozen):
    """Delete the room and tell the services that the session has ended."""


class Purge(Frozen):
    """Remove the session from the store: its retention is over."""


Action = CreateRoom | DispatchManager | SendInvite | Replace | Remove | ListRoom | CheckDeadline | CleanUp | Purge


class Plan(Frozen):
    actions: tuple[Action, ...]
    """What to do now, in this order."""
    wake_at: float
    """When to plan again if nothing changes first; infinity if only a change can matter."""


def plan(session: Session, now: float, thawed_at: float = -math.inf) -> Plan:
    """What is due at `now`, and when to plan again. `thawed_at`: when this process last went on after a standstill, or
    LiveKit came back to it."""
    due = list(_after_the_end(session) if session.over else _while_alive(session, thawed_at))
    actions = tuple(action for at, action in due if at <= now)
    last = next((action for action in actions if isinstance(action, CheckDeadline | Purge)), None)
    if last is not None:
        actions = (last,)  # no other action is worth starting
    return Plan(actions, min((at for at, _ in due if at > now), default=math.inf))


def _while_alive(session: Session, thawed_at: float) -> Iterator[tuple[float, Action]]:
    """Every action of a live session with the instant at which it is due."""
    ends = deadline(session)
    if ends is not None:
        yield max(ends[0], thawed_at + THAW_GRACE), CheckDeadline()
    if session.room.requested_at is None:
        yield -math.inf, CreateRoom()
    if session.room.created_at is None or session.room.in_flight:
        return
    if session.room.lost_since is not None and session.may_be_remade:
        yield session.room.remake_at, CreateRoom()
        return
    relieved_at = max(relief_at(session), thawed_at + THAW_GRACE)
    yield min(session.manager.next_dispatch_at, relieved_at), DispatchManager(session.manager.attempt + 1)
    for entry, service in enumerate(session.services):
        if service.state is not ServiceState.READY:
            yield from _invite(session, entry, service.current, thawed_at)
    for stale in session.stale_participants:
        if stale.presence.here and stale.removing is None:
            yield _removal_at(session, stale), Remove(stale.identity)
    for one in session.trespassers:
        if not one.removing:
            yield one.removals.due_at(one.sid), Remove(one.identity, one.sid)
    if session.listing_since is None:
        yield _next_listing_at(session, session.room.created_at, thawed_at), ListRoom()


def _removal_at(session: Session, stale: StaleParticipant) -> float:
    manager = session.manager
    if stale.service_id is None and manager.presence.here and manager.joined_at is not None:
        stale = replace(stale, not_before=min(stale.not_before, manager.joined_at + RELIEF_NOTICED))
    return stale.removal_at


def _next_listing_at(session: Session, created_at: float, thawed_at: float) -> float:
    latest = session.listed_at or created_at
    if session.listing_failures:
        return latest + backoff(session.session_id, session.listing_failures)
    check_at = max(min(session.leave_check_at, overlooked_check_at(session)), latest + DOUBT_PAUSES[0])
    if doubts := session.doubts:
        return min(check_at, latest + (DOUBT_PAUSES[0] if doubts == 1 else DOUBT_PAUSES[1]))
    if max(session.listed_as_of, session.room.missed_at, created_at) < thawed_at:
        return thawed_at
    return min(check_at, _next_regular_listing_at(session, latest))


def _next_regular_listing_at(session: Session, latest: float) -> float:
    watched_since = session.manager.presence.reported_at
    if watched_since is not None and watched_since > latest:
        return watched_since  # participants may have left while the room was not watched
    unseen = [due for _, due in appearance_deadlines(session)]
    if session.all_ready and not unseen:
        # After a burst of new sessions hundreds of managers wait for their turn to join.
        is_told = session.manager.presence.here or (session.manager.is_joining and session.webhooks_arrive)
        return latest + (LISTING_INTERVAL if is_told else WAITING_LISTING_INTERVAL)
    regular = latest + (WAITING_LISTING_INTERVAL if session.webhooks_arrive else BLIND_LISTING_INTERVAL)
    checks = [max(due, latest + BLIND_LISTING_INTERVAL) for due in unseen if due > session.listed_as_of]
    return min([regular, *checks])


def _invite(session: Session, entry: int, attempt: Attempt, thawed_at: float) -> Iterator[tuple[float, Action]]:
    if attempt.number == 0:
        yield -math.inf, SendInvite(entry, attempt=1, tries=1)
        return
    if attempt.lost_with_room:
        yield -math.inf, SendInvite(entry, attempt.number + 1, tries=1)
        return
    grace_ends = -math.inf if attempt.overdue_since is None else thawed_at + THAW_GRACE
    yield max(replace_at(attempt, session.limits.service_join_timeout), grace_ends), Replace(entry, attempt.number)
    again = SendInvite(entry, attempt.number, attempt.tries + 1)
    yield resend_at(attempt), again  # after Replace: another instance, if there is one, comes first


def _after_the_end(session: Session) -> Iterator[tuple[float, Action]]:
    end = session.end
    assert end is not None
    if session.room.in_flight:
        return  # a room that is being created can't be deleted yet
    if end.cleaning_since is None and end.cleaned_at is None:
        yield end.retry_at, CleanUp()
        if end.clean_ups:
            yield end.at + max(session.limits.retention, UNCLEANED_KEPT), Purge()
    elif end.cleaned_at is not None:
        yield max(end.at + session.limits.retention, end.cleaned_at + NAME_QUARANTINE), Purge()
