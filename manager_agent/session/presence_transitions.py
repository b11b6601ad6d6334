"""What joins, leaves and listings do to a session: the user, the manager, services, and stale participants.

PURE. Used by transitions.py, which has the table of all event types.
"""

from __future__ import annotations

from collections.abc import Callable

from manager_agent.frozen import Frozen, replace
from manager_agent.session import events as ev
from manager_agent.session.attempt import Attempt
from manager_agent.session.dispatch import ManagerDispatch
from manager_agent.session.events import ParticipantInfo
from manager_agent.session.guests import guest_left, guest_seen
from manager_agent.session.participant import ROOM_EVENT_LAG, Presence, StaleParticipant
from manager_agent.session.required_service import RequiredService
from manager_agent.session.service_transitions import (
    fail_unseen_services,
    lose_services_apart,
    lost,
    make_stale,
    service_cut_off,
    service_left,
    service_seen,
    with_attempt,
    with_stale_participant,
)
from manager_agent.session.session import OUR_IDENTITIES, Session, index_of
from manager_agent.session.trespassers import is_trespasser, trespasser_left, trespasser_seen

AGENT_NAME_ATTRIBUTES = ("lk.agent_name", "lk.agent.name")
"""The first is written by livekit-server (since 1.9.2, livekit#3914) for every dispatched agent, in whatever language;
the second by the Python SDK. Only the holder of LiveKit's secret can make a participant of kind AGENT."""


class Sight(Frozen):
    """A report of a participant in the room; `shown_at` and `by` as for Presence.seen."""

    participant: ParticipantInfo
    at: float
    shown_at: float | None
    by: str | None
    watching: str | None
    """The identity of the manager that is connected to the room."""

    def of(self, presence: Presence) -> Presence:
        """The presence of its identity after this report."""
        seen = self.participant
        shown_at, is_hidden = self._shown_at(presence), seen.is_hidden
        return presence.seen(seen.sid, seen.joined_ms, self.at, shown_at=shown_at, by=self.by, is_hidden=is_hidden)

    def is_outdated(self, presence: Presence) -> bool:
        return presence.has_left(self.participant.sid, self._shown_at(presence), self.by)

    def _shown_at(self, presence: Presence) -> float | None:
        """None: a listing that shows whom the manager in the room saw leave is as good as a late report."""
        saw_leave = presence.last.seen_by if presence.last is not None else None
        is_contradicted = self.by is None and saw_leave is not None and saw_leave == self.watching
        return None if is_contradicted else self.shown_at


def participant_seen(session: Session, event: ev.ParticipantSeen) -> Session:
    by = _watching(session, event.seen_by)
    if by is not None:
        session = _manager_reported(session)
    if is_trespasser(session, event.participant):
        return trespasser_seen(session, event.participant)
    shown_at = None if by is None else event.at
    return _seen(session, Sight(event.participant, event.at, shown_at, by, session.watching))


def _manager_reported(session: Session) -> Session:
    manager, room = session.manager.connected(), session.room.answered()
    if manager is session.manager and room is session.room:
        return session
    return replace(session, manager=manager, room=room)


def _watching(session: Session, seen_by: str | None) -> str | None:
    """The identity of the manager that reports an event; None for a webhook, and for an earlier manager."""
    return seen_by if session.manager.in_charge and seen_by == session.manager.identity else None


def _seen(session: Session, sight: Sight) -> Session:
    seen, at = sight.participant, sight.at
    session = _left(session, seen.identity, lambda presence: presence.overtaken(seen.sid, seen.joined_ms), at)
    if seen.is_ringing and (seen.identity == session.user.identity or session.guest(seen.identity) is not None):
        return session
    if seen.identity == session.user.identity:
        presence = sight.of(session.user_presence)
        if presence is session.user_presence:
            return session
        joined_at = at if session.user_joined_at is None and presence.here else session.user_joined_at
        return replace(session, user_presence=presence, user_joined_at=joined_at)
    if (guest := session.guest(seen.identity)) is not None:
        return guest_seen(session, guest, sight.of)
    manager = session.manager
    if seen.identity == manager.identity and manager.in_charge:
        return _with_manager(session, manager.seen(sight.of(manager.presence), at))
    if session.is_stale(seen.identity):
        return with_stale_participant(
            session, seen.identity, lambda stale: replace(stale, presence=sight.of(stale.presence))
        )
    entry = session.entry_of(seen.identity)
    if entry is None and seen.is_agent and not seen.identity.startswith(OUR_IDENTITIES):
        session, entry = _match_dispatched_agent(session, sight)
        if entry is None and _is_surplus_agent(session, sight):
            return make_stale(session, StaleParticipant(seen.identity, sight.of(Presence())))
    if entry is None:
        return session
    return service_seen(session, entry, seen, sight.of(session.services[entry].presence), at)


def _match_dispatched_agent(session: Session, sight: Sight) -> tuple[Session, int | None]:
    """Recognize an agent that LiveKit dispatched for us under an identity of its own: by its agent name, or by the
    identity of an earlier attempt's job."""
    seen = sight.participant
    names = _agent_names(seen)

    def awaited(service: RequiredService) -> bool:
        known = service.presence.here or sight.is_outdated(service.presence)
        is_ours = service.agent_name in names or any(seen.identity == attempt.identity for attempt in service.past)
        return service.agent_name is not None and is_ours and service.attempt > 0 and not known

    entry = index_of(session.services, awaited)
    if entry is not None:
        attempt = session.services[entry].current
        presence = replace(attempt.presence, joined_ms=0)  # instants only order the joins of the same identity
        session = with_attempt(session, entry, replace(attempt, identity=seen.identity, presence=presence))
    return session, entry


def _is_surplus_agent(session: Session, sight: Sight) -> bool:
    """An agent that joined for our dispatch although its entry already has one: it was dispatched twice."""
    names = _agent_names(sight.participant)
    same = [service for service in session.services if service.agent_name in names and service.attempt > 0]
    here = [service.presence for service in same if service.presence.here and not service.presence.misses]
    return bool(same) and len(here) == len(same) and not any(map(sight.is_outdated, here))


def _agent_names(seen: ParticipantInfo) -> frozenset[str]:
    return frozenset(name for key in AGENT_NAME_ATTRIBUTES if (name := seen.attributes.get(key)))


def participant_left(session: Session, event: ev.ParticipantLeft) -> Session:
    session = trespasser_left(session, event.sid)
    if session.entry_of(event.identity) is None:
        session = _unknown_left(session, event)
    by = _watching(session, event.seen_by)

    def leave(presence: Presence) -> Presence:
        if event.replaced:
            return presence.replaced(event.sid, event.at)
        return presence.left(event.sid, event.at, by, is_watched=session.may_be_watched(presence, event.at))

    left = _left(session, event.identity, leave, event.at)
    if event.may_return and left is not session:
        left = service_cut_off(left, event.identity, event.at)
    return replace(left, user_left_at=session.user_left_at) if event.aborted else left


def _unknown_left(session: Session, event: ev.ParticipantLeft) -> Session:
    """Remember the leave, because it may be of an agent dispatched for us whose join is reported later."""
    for entry, service in enumerate(session.services):
        if service.agent_name:
            left = replace(service.current, presence=service.presence.left(event.sid, event.at))
            session = with_attempt(session, entry, left)
    return session


def _left(session: Session, identity: str, leave: Callable[[Presence], Presence], at: float) -> Session:
    if identity == session.user.identity:
        was, presence = session.user_presence, leave(session.user_presence)
        if presence is was:
            return session
        left_at = at if (presence.sid, presence.gone) != (was.sid, was.gone) else session.user_left_at
        return replace(session, user_presence=presence, user_left_at=left_at)
    if (guest := session.guest(identity)) is not None:
        return guest_left(session, guest, leave, at)
    if identity == session.manager.identity and session.manager.in_charge:
        return _with_manager(session, session.manager.left(leave(session.manager.presence), at))
    if session.is_stale(identity):
        return with_stale_participant(session, identity, lambda stale: replace(stale, presence=leave(stale.presence)))
    entry = session.entry_of(identity)
    if entry is None:
        return session
    return service_left(session, entry, leave(session.services[entry].presence), at)


def _with_manager(session: Session, manager: ManagerDispatch) -> Session:
    return session if manager is session.manager else replace(session, manager=manager)


def room_listed(session: Session, event: ev.RoomListed) -> Session:
    if event.asked_at == session.listing_since:
        session = replace(session, listing_since=None, listing_failures=0, listed_at=event.at)
    if event.asked_at <= session.listed_as_of or session.room.may_be_replaced:
        return session
    previous_as_of = session.listed_as_of
    session = replace(session, listed_as_of=event.asked_at, room=session.room.listed(event.asked_at, event.is_silent))
    here = [seen for seen in event.participants if not is_trespasser(session, seen)]
    listed = {seen.identity for seen in here} | set(event.joining)
    for identity in _identities(session):
        if identity not in listed:
            session = _missed(session, identity, event)
    for entry, service in enumerate(session.services):
        if service.identity not in listed and _signaled_before(session, service.current, event.asked_at):
            session = _missed_after_signal(session, entry, event)
    for seen in here:  # last: a listed participant may replace one that is gone
        session = _seen(session, Sight(seen, event.at, event.asked_at, None, session.watching))
    for seen in event.participants:
        if is_trespasser(session, seen):
            session = trespasser_seen(session, seen)
    session = fail_unseen_services(session, event, previous_as_of)
    return lose_services_apart(session, event)


def unlisted(session: Session, event: ev.RoomListed) -> list[str]:
    """The identities that would count as gone with this listing only because it and earlier ones lack them: no manager
    is connected that would see them."""
    if session.manager.is_connected:
        return []
    count = _count_here(room_listed(session, event))
    if count >= _count_here(session):
        return []

    def counts(identity: str) -> bool:
        return _count_here(room_listed(session, replace(event, joining=(*event.joining, identity)))) > count

    return [identity for identity in _identities(session) if counts(identity)]


def _count_here(session: Session) -> int:
    """How many are in the room, and services not lost."""
    here = sum(presence.here for presence in session.presences)
    return here + sum(not service.current.lost for service in session.services)


def _identities(session: Session) -> list[str]:
    """Every identity whose presence is recorded."""
    known = [session.user.identity, session.manager.identity, *(s.identity for s in session.services)]
    known += [guest.identity for guest in session.guests]
    known += [stale.identity for stale in session.stale_participants]
    return [identity for identity in known if identity]


def _missed(session: Session, identity: str, event: ev.RoomListed) -> Session:
    """The listing lacks this identity. Whether it has left depends on earlier listings, and on the manager."""

    def missed(presence: Presence) -> Presence:
        if not presence.here:
            return presence
        return presence.missed(event.asked_at, is_watched=session.may_be_watched(presence, event.asked_at))

    return _left(session, identity, missed, event.at)


def _missed_after_signal(session: Session, entry: int, event: ev.RoomListed) -> Session:
    """The same for a service that sent a signal in the room although its join was never reported."""
    attempt = session.services[entry].current
    presence = attempt.presence.missed(event.asked_at, is_watched=False)
    if presence.is_missed_for_good(event.asked_at):
        return with_attempt(session, entry, lost(replace(attempt, presence=presence.found()), event.at))
    return with_attempt(session, entry, replace(attempt, presence=presence))


def _signaled_before(session: Session, attempt: Attempt, asked_at: float) -> bool:
    """Whether it sent a signal in the room before that instant, although its join was never reported. A connected
    manager reports it late."""
    joined, lag = attempt.timeline.joined, ROOM_EVENT_LAG if session.manager.is_connected else 0.0
    return not attempt.presence.here and not attempt.lost and joined is not None and joined + lag < asked_at
