"""One entry of what a session needs: which service was chosen, how far it has come, and what is wrong with it.

PURE. Its state follows from the facts. An attempt is one instance, or one time, that was invited for the entry; a
later attempt starts the facts anew, and what an earlier one says is nobody's any more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from manager_agent.redacted_url import redacted_url
from manager_agent.session.events import Chosen, Evidence, ReadyOn, Refusal
from manager_agent.session.participant import Presence

PAST_KEPT = 32
"""How many attempts that came to nothing are remembered."""


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
    """Where an invite reaches an instance. The same id at another place is another instance."""

    service_id: str
    endpoint: str | None
    agent_name: str | None

    @property
    def log_fields(self) -> dict[str, str]:
        """What every log line about it says."""
        endpoint = self.endpoint and redacted_url(self.endpoint)
        fields = {"service_id": self.service_id, "endpoint": endpoint, "agent_name": self.agent_name}
        return {name: value for name, value in fields.items() if value}


@dataclass(frozen=True, slots=True)
class Timeline:
    """When what was known of one service, in seconds since the epoch; of its current attempt."""

    invited: float | None = None
    accepted: float | None = None
    joined: float | None = None
    ready: float | None = None
    left: float | None = None
    failed: float | None = None


@dataclass(frozen=True, slots=True)
class PastAttempt:
    """An attempt that came to nothing, as it was when the next one took its place."""

    number: int
    ref: InstanceRef
    type: str
    timeline: Timeline
    state: ServiceState
    reason: ServiceReason | None
    tries: int
    until: float
    """When the next one began."""


@dataclass(frozen=True, slots=True)
class RequiredService:
    """One entry of what a session needs, updated in place."""

    service_id: str
    type: str
    endpoint: str | None = None
    agent_name: str | None = None
    ready_on: ReadyOn = ReadyOn.JOIN
    """So far: the instance that was chosen."""
    optional: bool = False
    by_id: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    """What was asked for: this very service, or any of its type with these labels."""
    past: tuple[PastAttempt, ...] = ()
    """The attempts before this one; the latest last."""

    attempt: int = 0
    identity: str | None = None
    invite_id: str = ""
    tries: int = 0
    in_flight: bool = False
    retry_at: float = math.inf
    refusal: Refusal | None = None
    presence: Presence = Presence()
    ready_by: Evidence | None = None
    was_ready: bool = False
    """In this attempt, as a participant that is gone: what that one said is void."""
    was_accepted: bool = False
    """In this attempt, by who refused it when it was sent once more."""
    reported_failure: bool = False
    refused_at: float | None = None
    resent_at: float = -math.inf
    """When the same invite was last sent once more."""
    held_until: float = -math.inf
    """Not before is it replaced, whatever is held against it."""
    timeline: Timeline = Timeline()

    @property
    def ref(self) -> InstanceRef:
        return InstanceRef(self.service_id, self.endpoint, self.agent_name)

    @property
    def tried(self) -> tuple[InstanceRef, ...]:
        """Where those are who were invited for this entry, each once, the latest last."""
        refs = (self.ref, *(attempt.ref for attempt in reversed(self.past)))
        return tuple(reversed(dict.fromkeys(refs)))

    @property
    def lost(self) -> bool:
        return self.timeline.left is not None

    @property
    def refused(self) -> bool:
        """It was told, and would not, or could not be told."""
        heard_of = self.timeline.joined is not None or self.ready_by is not None
        return self.refusal is not None and not self.in_flight and not heard_of

    @property
    def refused_for_good(self) -> bool:
        return self.refusal is not None and not self.in_flight and self.retry_at == math.inf

    @property
    def declined(self) -> bool:
        """It was told, and would not: it is well, and has no room or no time."""
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
        return ServiceState.PENDING if self.attempt == 0 else ServiceState.INVITED

    @property
    def overdue_since(self) -> float | None:
        """When it accepted; None when it is not its joining that is waited for."""
        return self.timeline.accepted if self.state is ServiceState.ACCEPTED else None

    @property
    def may_be_asked_again(self) -> bool:
        """Whether the same invite may be sent once more. Dispatched again, an agent would come twice."""
        if self.overdue_since is not None:
            return self.agent_name is None
        return self.refused and not self.refused_for_good and not self.reported_failure

    def next_attempt(self, identity: str | None, invite_id: str, at: float, instead: Chosen | None) -> RequiredService:
        """As the next attempt begins: with another instance, or anew with this one."""
        chosen = instead or Chosen(self.service_id, self.type, self.endpoint, self.agent_name, self.ready_on)
        return RequiredService(
            service_id=chosen.service_id,
            type=chosen.type,
            endpoint=chosen.endpoint,
            agent_name=chosen.agent_name,
            ready_on=chosen.ready_on,
            optional=self.optional,
            by_id=self.by_id,
            labels=self.labels,
            past=(*self.past, self._ended(at))[-PAST_KEPT:] if self.attempt else (),
            attempt=self.attempt + 1,
            identity=identity,
            invite_id=invite_id,
            tries=1,
            in_flight=True,
            presence=self.presence.void(),  # an agent of the attempt before has the same name
            timeline=Timeline(invited=at),
        )

    def _ended(self, at: float) -> PastAttempt:
        return PastAttempt(
            number=self.attempt,
            ref=self.ref,
            type=self.type,
            timeline=self.timeline,
            state=self.state,
            reason=self.shortfall,
            tries=self.tries,
            until=at,
        )

    @property
    def fault(self) -> ServiceReason | None:
        """What has gone wrong with it so far; None while it may simply need more time."""
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
        """Why it was not ready when time was up; None if it was."""
        match self.state:
            case ServiceState.READY:
                return None
            case ServiceState.JOINED:
                return ServiceReason.JOINED_NOT_READY
        return self.fault or ServiceReason.NEVER_JOINED
