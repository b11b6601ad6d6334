"""Makes a session from the record that another process has left of it.

PURE. The record is the specification (specification.py) and the progress since then (progress.py).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator

from manager_agent.frozen import replace
from manager_agent.session.attempt import Attempt
from manager_agent.session.dispatch import ManagerDispatch
from manager_agent.session.identities import Identities
from manager_agent.session.participant import Presence, StaleParticipant
from manager_agent.session.progress import ServiceProgress, SessionProgress
from manager_agent.session.required_service import RequiredService
from manager_agent.session.room import Room
from manager_agent.session.session import End, Session
from manager_agent.shifted_instants import shifted

SPENT_KEPT = 4
"""Earlier managers that are removed if they are still in the room."""
REVISIONS_PER_SECOND = 1_000
"""More than a session changes in a second."""


def revision_after(recorded: int, age: float) -> int:
    """The revision from which another process goes on, with a session that is `age` seconds old.

    A revision never stands for two states: clients compare revisions as entity tags. An earlier process may have shown
    some that it did not record, and so may several in a row that were killed. Time has passed with each.
    """
    return max(recorded + 1, int(age * REVISIONS_PER_SECOND))


def resumed(
    session: Session,
    progress: SessionProgress,
    *,
    revision: int,
    room_sid: str,
    manager_attempts: int,
    identities: Identities,
    now: float,
    dispatch_at: float,
    dispatched_invites: Collection[str] = (),
) -> Session:
    """The session of another process, ready to be continued at `now`.

    `session`: as its specification has it. `manager_attempts`: how often its manager was dispatched; the next one is
    dispatched at `dispatch_at`. `dispatched_invites`: the ids of the invites for which LiveKit has a dispatch of an
    agent; they are not sent again. The participants are those recorded; a listing of the room must follow.
    """
    services = tuple(_resumed_services(session, progress, identities, dispatched_invites, now))
    given_at = progress.token_given_at
    room_created = progress.created if progress.room_created is None else progress.room_created
    end = None
    if progress.end_reason is not None:
        end = End(progress.end_reason, now if progress.ended_at is None else progress.ended_at)
    managers = [identities.manager(session.session_id, number + 1) for number in range(manager_attempts)]
    return replace(
        session,
        created_at=progress.created,
        services=services,
        room=Room(
            requested_at=progress.created,
            sid=room_sid,
            created_at=room_created,
            remakes=progress.remakes,
            previous_lost_at=progress.room_lost,
        ),
        manager=ManagerDispatch(
            attempt=manager_attempts,
            identity=managers[-1] if managers else None,
            dispatch_at=dispatch_at,
            spent=tuple(managers[-SPENT_KEPT:]),
        ),
        stale_participants=(*_replaced(services), *map(StaleParticipant, managers[-SPENT_KEPT:])),
        user_presence=Presence(sid=progress.user_sid),
        guests=tuple(
            replace(guest, presence=Presence(sid=progress.guest_sids.get(guest.identity))) for guest in session.guests
        ),
        user_joined_at=progress.user_joined_at,
        user_left_at=progress.user_left_at,
        token_given_at=-math.inf if given_at is None else given_at,
        webhooks_arrive=progress.webhooks_arrive,
        end=end,
        state_since=progress.state_since,
        state_revision=progress.state_revision,
        ready_at=progress.ready_at,
        waiting_again_since=progress.waiting_again,
        revision=revision,
    )


def _replaced(services: tuple[RequiredService, ...]) -> Iterator[StaleParticipant]:
    """The services that were replaced, whose tokens are still valid. Agents that never came do for a later attempt."""
    for service in services:
        for past in service.past:
            is_known = past.has_appeared or past.instance.agent_name is None
            if is_known and past.identity not in (None, service.identity):
                yield StaleParticipant(past.identity, service_id=past.instance.service_id, attempt=past.number)


def _moved(attempt: Attempt, seconds: float) -> Attempt:
    """The same attempt by another clock, which is ahead by so many seconds."""
    return replace(attempt, timeline=shifted(attempt.timeline, seconds))


def _resumed_services(
    session: Session, progress: SessionProgress, identities: Identities, dispatched_invites: Collection[str], now: float
) -> Iterator[RequiredService]:
    moved = progress.created - session.created_at
    known = dict(enumerate(progress.services))
    for entry, service in enumerate(session.services):
        facts = known.get(entry)
        number = service.current.number
        if facts is None or facts.attempt != number:  # of another attempt, whose instance is not this one
            facts = ServiceProgress(attempt=number, in_flight=True, invited=now)
        instance = service.current.instance
        identity = None
        if instance.agent_name is None:
            identity = identities.service(session.session_id, entry, instance.service_id, number)
        invite_id = identities.invite(session.session_id, entry, number)
        if facts.in_flight and invite_id in dispatched_invites:
            facts = facts.model_copy(update={"in_flight": False, "accepted": now})
        past = tuple(_moved(attempt, moved) for attempt in service.past)
        yield replace(service, current=facts.applied(service.current, identity, invite_id, now), past=past)
