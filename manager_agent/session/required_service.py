"""One required service of a session: its requirement, the current attempt to get it, and the past attempts.

PURE. An attempt invites one instance for the entry, possibly the same instance again. Its state is derived from its
facts. The next attempt starts without any of them, and signals of earlier attempts no longer count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

from manager_agent.redacted_url import redacted_url
from manager_agent.session.events import Chosen, Evidence, Refusal
from manager_agent.session.participant import Presence

PAST_KEPT = 32
"""The maximum number of past attempts kept per entry."""


class ServiceState(StrEnum):
    PENDING = "pending"
    INVITED = "invited"
    ACCEPTED = "accepted"
    JOINED = "joined"
    READY = "ready"
    LOST = "lost"
    FAILED = "failed"


class ServiceReason(StrEnum):
    """Why a service is not ready."""

    NOT_REGISTERED = "not_registered"
    NO_CAPACITY = "no_capacity"
    UNREACHABLE = "unreachable"
    DECLINED = "declined"
    NEVER_JOINED = "never_joined"
    JOINED_NOT_READY = "joined_not_ready"
    REPORTED_FAILURE = "reported_failure"
    LEFT = "left"


class InstanceRef(NamedTuple):
    """The address of an instance. The same service id at another address is another instance."""

    service_id: str
    endpoint: str | None
    agent_name: str | None

    @property
    def log_fields(self) -> dict[str, str]:
        """The fields of every log entry about it."""
        endpoint = self.endpoint and redacted_url(self.endpoint)
        fields = {"service_id": self.service_id, "endpoint": endpoint, "agent_name": self.agent_name}
        return {name: value for name, value in fields.items() if value}


@dataclass(frozen=True, slots=True)
class Timeline:
    """The instants of one attempt, in seconds since the epoch."""

    invited: float | None = None
    accepted: float | None = None
    joined: float | None = None
    ready: float | None = None
    left: float | None = None
    failed: float | None = None


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a session requires: one service by its id, or any service of a type with these labels."""

    service_id: str | None = None
    type: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to get a service for an entry, with one instance."""

    instance: Chosen
    number: int = 0
    """0: the instance is chosen but not invited yet."""
    identity: str | None = None
    invite_id: str = ""
    tries: int = 0
    in_flight: bool = False
    retry_at: float = math.inf
    refusal: Refusal | None = None
    presence: Presence = Presence()
    ready_by: Evidence | None = None
    was_ready: bool = False
    """Whether it was ready as an earlier participant, which has left and whose signals no longer count."""
    was_accepted: bool = False
    """Whether it had accepted before the same invite was sent again and refused."""
    reported_failure: bool = False
    refused_at: float | None = None
    resent_at: float = -math.inf
    """When the same invite was last sent again."""
    held_until: float = -math.inf
    """It is not replaced before this instant."""
    timeline: Timeline = Timeline()

    @property
    def ref(self) -> InstanceRef:
        instance = self.instance
        return InstanceRef(instance.service_id, instance.endpoint, instance.agent_name)

    @property
    def invited_at(self) -> float:
        """When the attempt started. Only for an instance that was invited."""
        assert self.timeline.invited is not None, "an attempt begins with its invite"
        return self.timeline.invited

    @property
    def answered_at(self) -> float:
        """When it accepted its invite, or else was invited: it may join before its response arrives."""
        return self.invited_at if self.timeline.accepted is None else self.timeline.accepted

    @property
    def lost(self) -> bool:
        return self.timeline.left is not None

    @property
    def refused(self) -> bool:
        """It declined the invite or could not be reached."""
        heard_of = self.timeline.joined is not None or self.ready_by is not None
        return self.refusal is not None and not self.in_flight and not heard_of

    @property
    def refused_for_good(self) -> bool:
        return self.refusal is not None and not self.in_flight and self.retry_at == math.inf

    @property
    def declined(self) -> bool:
        """It was reached and declined: it is healthy but has no capacity."""
        return self.refused and self.refusal is Refusal.DECLINED

    @property
    def state(self) -> ServiceState:
        if self.reported_failure:
            return ServiceState.FAILED
        if self.lost:
            return ServiceState.LOST
        if self.ready_by is not None:
            return ServiceState.READY
        if self.timeline.joined is not None:
            return ServiceState.JOINED
        if self.refused_for_good:
            return ServiceState.FAILED
        if self.timeline.accepted is not None:
            return ServiceState.ACCEPTED
        return ServiceState.PENDING if self.number == 0 else ServiceState.INVITED

    @property
    def overdue_since(self) -> float | None:
        """When it accepted; None unless its join is awaited."""
        return self.timeline.accepted if self.state is ServiceState.ACCEPTED else None

    @property
    def may_be_asked_again(self) -> bool:
        """Whether the same invite may be sent again. An agent that is dispatched again would join twice."""
        if self.overdue_since is not None:
            return self.instance.agent_name is None
        return self.refused and not self.refused_for_good and not self.reported_failure

    @property
    def fault(self) -> ServiceReason | None:
        """What went wrong so far; None while it may only need more time."""
        match self.state:
            case ServiceState.FAILED if self.reported_failure:
                return ServiceReason.REPORTED_FAILURE
            case ServiceState.LOST:
                return ServiceReason.LEFT
            case ServiceState.INVITED | ServiceState.FAILED if self.refusal is not None:
                return ServiceReason(self.refusal)
        return None

    @property
    def shortfall(self) -> ServiceReason | None:
        """Why it was not ready at the deadline; None if it was ready."""
        match self.state:
            case ServiceState.READY:
                return None
            case ServiceState.JOINED:
                return ServiceReason.JOINED_NOT_READY
        return self.fault or ServiceReason.NEVER_JOINED


@dataclass(frozen=True, slots=True)
class RequiredService:
    """One required service (entry) of a session."""

    requirement: Requirement
    current: Attempt
    past: tuple[Attempt, ...] = ()
    """The past attempts, latest last."""

    @property
    def optional(self) -> bool:
        return self.requirement.optional

    @property
    def service_id(self) -> str:
        return self.current.instance.service_id

    @property
    def type(self) -> str:
        return self.current.instance.type

    @property
    def agent_name(self) -> str | None:
        return self.current.instance.agent_name

    @property
    def attempt(self) -> int:
        """The number of the current attempt."""
        return self.current.number

    @property
    def identity(self) -> str | None:
        return self.current.identity

    @property
    def invite_id(self) -> str:
        return self.current.invite_id

    @property
    def presence(self) -> Presence:
        return self.current.presence

    @property
    def state(self) -> ServiceState:
        return self.current.state

    @property
    def ready_by(self) -> Evidence | None:
        return self.current.ready_by

    @property
    def timeline(self) -> Timeline:
        return self.current.timeline

    @property
    def tried(self) -> tuple[InstanceRef, ...]:
        """The instances that were invited for this entry, without duplicates, latest last."""
        refs = (self.current.ref, *(attempt.ref for attempt in reversed(self.past)))
        return tuple(reversed(dict.fromkeys(refs)))

    def next_attempt(self, identity: str | None, invite_id: str, at: float, instead: Chosen | None) -> RequiredService:
        """The entry with its next attempt, for the instance `instead`, or for the current one when that is None."""
        current = self.current
        following = Attempt(
            instance=instead or current.instance,
            number=current.number + 1,
            identity=identity,
            invite_id=invite_id,
            tries=1,
            in_flight=True,
            presence=current.presence.void(),  # an agent of the previous attempt may have the same identity
            timeline=Timeline(invited=at),
        )
        past = (*self.past, current)[-PAST_KEPT:] if current.number else ()
        return replace(self, current=following, past=past)
