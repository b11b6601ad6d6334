"""The progress of a session: the facts that came after its specification.

PURE. It is kept in the room's metadata, which every participant can read and only the server can write, so it contains
nothing private: no addresses, no invite ids. A process that continues the session of another one applies it to the
specification, and then observes the room like any other.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import fields, replace
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from manager_agent.clock_origin import ClockOrigin
from manager_agent.session.attempt import Attempt, Timeline
from manager_agent.session.dispatch import ManagerDispatch
from manager_agent.session.events import Evidence, Refusal
from manager_agent.session.identities import Identities
from manager_agent.session.participant import Presence, StaleParticipant
from manager_agent.session.required_service import RequiredService
from manager_agent.session.room import Room
from manager_agent.session.session import End, EndReason, Session

Instants = TypeVar("Instants", bound=BaseModel)
SPENT_KEPT = 4
"""Earlier managers that are removed if they are still in the room."""


class _Facts(BaseModel):
    """Fields of later versions are ignored; those at their default are not written."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    @model_serializer(mode="wrap")
    def _without_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        return {name: value for name, value in dump(self).items() if getattr(self, name) != fields[name].default}


class ServiceProgress(_Facts):
    """The current attempt of one required service."""

    attempt: int = Field(ge=0)
    tries: int = 1
    identity: str | None = None
    """Of an agent that LiveKit dispatched. That of another service can be computed."""
    sid: str | None = None
    """The participant in the room."""
    in_flight: bool = False
    refusal: Refusal | None = None
    is_final: bool = False
    """Whether the refused invite is not sent again."""
    ready_by: Evidence | None = None
    was_ready: bool = False
    was_accepted: bool = False
    reported_failure: bool = False
    never_joined: bool = False
    lost_with_room: bool = False
    refused_at: float | None = None
    invited: float | None = None
    accepted: float | None = None
    joined: float | None = None
    ready: float | None = None
    left: float | None = None
    failed: float | None = None

    @classmethod
    def of(cls, attempt: Attempt) -> ServiceProgress:
        times = attempt.timeline
        return cls(
            attempt=attempt.number,
            tries=attempt.tries,
            identity=attempt.identity if attempt.instance.agent_name else None,
            sid=attempt.presence.sid,
            in_flight=attempt.in_flight,
            refusal=attempt.refusal,
            is_final=attempt.refused_for_good,
            ready_by=attempt.ready_by,
            was_ready=attempt.was_ready,
            was_accepted=attempt.was_accepted,
            reported_failure=attempt.reported_failure,
            never_joined=attempt.never_joined,
            lost_with_room=attempt.lost_with_room,
            refused_at=attempt.refused_at,
            invited=times.invited,
            accepted=times.accepted,
            joined=times.joined,
            ready=times.ready,
            left=times.left,
            failed=times.failed,
        )

    def applied(self, attempt: Attempt, identity: str | None, invite_id: str, now: float) -> Attempt:
        """The attempt as it stood when this was recorded. Whether an invite that was under way has arrived is not
        known: it is sent again."""
        is_open = not self.lost_with_room and self.accepted is None and self.ready_by is None and self.joined is None
        return replace(
            attempt,
            identity=self.identity or identity,
            invite_id=invite_id,
            tries=self.tries,
            refusal=self.refusal,
            retry_at=math.inf if self.is_final or self.refusal is None else now,
            is_interrupted=is_open and (self.in_flight or self.refusal is None),
            presence=_presence(self.sid, now),
            ready_by=self.ready_by,
            was_ready=self.was_ready,
            was_accepted=self.was_accepted,
            reported_failure=self.reported_failure,
            never_joined=self.never_joined,
            lost_with_room=self.lost_with_room,
            refused_at=self.refused_at,
            timeline=Timeline(self.invited, self.accepted, self.joined, self.ready, self.left, self.failed),
        )


class SessionProgress(_Facts):
    """What a room's metadata says about its session, besides the status (messages.RoomStatus)."""

    services: tuple[ServiceProgress, ...] = ()
    clock: ClockOrigin | None = None
    """Of the process that recorded this: all instants are by its clock."""
    created: float | None = None
    """When the session was created. The specification has it by the clock of the process that created it."""
    room_created: float | None = None
    remakes: int = 0
    """How often the room was lost and made again."""
    room_lost: float | None = None
    """When the room before this one was lost."""
    waiting_again: float | None = None
    """When a session that had been ready began to wait again."""
    state_since: float
    ready_at: float | None = None
    user_sid: str | None = None
    user_joined_at: float | None = None
    user_left_at: float | None = None
    token_given_at: float | None = None
    end_reason: EndReason | None = None
    ended_at: float | None = None

    @classmethod
    def of(cls, session: Session, clock: ClockOrigin | None = None) -> SessionProgress:
        given_at, end = session.token_given_at, session.end
        return cls(
            services=tuple(ServiceProgress.of(service.current) for service in session.services),
            clock=clock,
            created=session.created_at,
            room_created=session.room.created_at,
            remakes=session.room.remakes,
            room_lost=session.room.previous_lost_at,
            waiting_again=session.waiting_again_since,
            state_since=session.state_since,
            ready_at=session.ready_at,
            user_sid=session.user_presence.sid,
            user_joined_at=session.user_joined_at,
            user_left_at=session.user_left_at,
            token_given_at=None if given_at == -math.inf else given_at,
            end_reason=None if end is None else end.reason,
            ended_at=None if end is None else end.at,
        )

    def shifted(self, seconds: float) -> SessionProgress:
        """The same by a clock that is ahead of the recorded one by so many seconds."""
        return _shifted(self, seconds).model_copy(
            update={"services": tuple(_shifted(service, seconds) for service in self.services)}
        )


def _shifted(facts: Instants, seconds: float) -> Instants:
    """All floats among these facts are instants."""
    found = ((name, getattr(facts, name)) for name in type(facts).model_fields)
    return facts.model_copy(update={name: value + seconds for name, value in found if isinstance(value, float)})


def recorded_facts(session: Session) -> tuple[object, ...]:
    """Equal for two states of a session whose records are the same; cheaper than to compare the records."""
    services = tuple(
        (
            current.number, current.tries, current.identity, current.instance, current.in_flight, current.refusal,
            current.refused_for_good, current.presence.sid, current.ready_by, current.was_ready, current.was_accepted,
            current.reported_failure, current.never_joined, current.lost_with_room, current.refused_at,
            current.timeline,
        )
        for current in (service.current for service in session.services)
    )  # fmt: skip
    users = session.user_presence.sid, session.user_joined_at, session.user_left_at, session.token_given_at
    guests = tuple(guest.identity for guest in session.guests)
    manager, end = session.manager, session.end
    # What was written while LiveKit was asked to make the room again may not be in the room that it has now.
    room = session.room.remakes, session.room.remaking_since
    return session.revision, services, users, guests, manager.identity, end and (end.reason, end.at), room


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
    session_created = session.created_at if progress.created is None else progress.created
    room_created = session_created if progress.room_created is None else progress.room_created
    end = None
    if progress.end_reason is not None:
        end = End(progress.end_reason, now if progress.ended_at is None else progress.ended_at)
    managers = [identities.manager(session.session_id, number + 1) for number in range(manager_attempts)]
    return replace(
        session,
        created_at=session_created,
        services=services,
        room=Room(
            requested_at=session_created,
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
        stale_participants=tuple(StaleParticipant(identity) for identity in managers[-SPENT_KEPT:]),
        user_presence=_presence(progress.user_sid, now),
        user_joined_at=progress.user_joined_at,
        user_left_at=progress.user_left_at,
        token_given_at=-math.inf if given_at is None else given_at,
        end=end,
        state_since=progress.state_since,
        ready_at=progress.ready_at,
        waiting_again_since=progress.waiting_again,
        revision=revision,
    )


def _moved(attempt: Attempt, seconds: float) -> Attempt:
    """The same attempt by another clock, which is ahead by so many seconds."""
    times = (getattr(attempt.timeline, field.name) for field in fields(attempt.timeline))
    return replace(attempt, timeline=Timeline(*(None if at is None else at + seconds for at in times)))


def _resumed_services(
    session: Session, progress: SessionProgress, identities: Identities, dispatched_invites: Collection[str], now: float
) -> Iterator[RequiredService]:
    moved = 0.0 if progress.created is None else progress.created - session.created_at
    known = dict(enumerate(progress.services))
    for entry, service in enumerate(session.services):
        facts = known.get(entry)
        number = service.current.number
        if facts is None or facts.attempt < number:
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


def _presence(sid: str | None, now: float) -> Presence:
    return Presence() if sid is None else Presence(sid=sid, reported_at=now)
