"""The progress of a session: the facts that came after its specification.

PURE. It is kept in the room's metadata, which every participant can read and only the server can write, so it contains
nothing private: no addresses, no invite ids. A process that continues the session of another one applies it to the
specification (resumption.py), and then observes the room like any other.
"""

from __future__ import annotations

import math
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from manager_agent.clock_origin import ClockOrigin
from manager_agent.frozen import replace
from manager_agent.session.attempt import Attempt, Timeline
from manager_agent.session.events import Evidence, Refusal
from manager_agent.session.participant import Presence
from manager_agent.session.session import EndReason, Session
from manager_agent.shifted_instants import shifted


class _Facts(BaseModel):
    """Fields of later versions are ignored; those at their default are not written."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

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
            presence=Presence(sid=self.sid),
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
    created: float
    """When the session was created. The specification has it by the clock of the process that created it."""
    room_created: float | None = None
    remakes: int = 0
    """How often the room was lost and made again."""
    room_lost: float | None = None
    """When the room before this one was lost."""
    waiting_again: float | None = None
    """When a session that had been ready began to wait again."""
    state_since: float
    state_revision: int = 1
    ready_at: float | None = None
    user_sid: str | None = None
    guest_sids: dict[str, str] = {}
    """Of the guests in the room, by identity."""
    user_joined_at: float | None = None
    user_left_at: float | None = None
    token_given_at: float | None = None
    webhooks_arrive: bool = False
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
            state_revision=session.state_revision,
            ready_at=session.ready_at,
            user_sid=session.user_presence.sid,
            guest_sids={guest.identity: guest.presence.sid for guest in session.guests if guest.presence.sid},
            user_joined_at=session.user_joined_at,
            user_left_at=session.user_left_at,
            token_given_at=None if given_at == -math.inf else given_at,
            webhooks_arrive=session.webhooks_arrive,
            end_reason=None if end is None else end.reason,
            ended_at=None if end is None else end.at,
        )

    def shifted(self, seconds: float) -> SessionProgress:
        """The same by a clock that is ahead of the recorded one by so many seconds."""
        return shifted(self, seconds, except_in=(ClockOrigin,))


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
    guests = tuple((guest.identity, guest.presence.sid) for guest in session.guests)
    manager, end = session.manager, session.end
    # What was written while LiveKit was asked to make the room again may not be in the room that it has now.
    room = session.room.remakes, session.room.remaking_since
    return session.revision, services, users, guests, manager.identity, end and (end.reason, end.at), room
