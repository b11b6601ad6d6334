"""One attempt to get a required service: an invite to one instance, and what became of it.

PURE. Its state is derived from its facts.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import NamedTuple

from manager_agent.frozen import Frozen
from manager_agent.redacted_url import redacted_url
from manager_agent.session.events import Chosen, Evidence, Refusal
from manager_agent.session.participant import Presence


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
    NO_WORKER = "no_worker"
    NEVER_JOINED = "never_joined"
    ROOM_LOST = "room_lost"
    """LiveKit lost its room. It is invited again to the next one."""
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


class Timeline(Frozen):
    """The instants of one attempt, in seconds since the epoch."""

    invited: float | None = None
    accepted: float | None = None
    joined: float | None = None
    ready: float | None = None
    left: float | None = None
    failed: float | None = None

    @property
    def known(self) -> dict[str, float]:
        """The instants that are known, by their names."""
        instants = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return {name: at for name, at in instants if at is not None}


class Attempt(Frozen):
    """One try to get a service for an entry, with one instance."""

    instance: Chosen
    number: int = 0
    """0: the instance is chosen but not invited yet."""
    identity: str | None = None
    invite_id: str = ""
    tries: int = 0
    in_flight: bool = False
    is_interrupted: bool = False
    """Whether the process that sent the invite has ended, so that it is not known whether it arrived."""
    retry_at: float = math.inf
    refusal: Refusal | None = None
    refusal_detail: str | None = None
    """What the session's owner may know of the reason for the refusal."""
    presence: Presence = Presence()
    ready_by: Evidence | None = None
    ready_before_loss: Evidence | None = None
    """What had made it ready when it was lost, in case the loss was reported in error."""
    was_ready: bool = False
    """Whether it was ready as an earlier participant, which has left and whose signals no longer count."""
    was_accepted: bool = False
    """Whether it had accepted before the same invite was sent again and refused."""
    reported_failure: bool = False
    failure_detail: str | None = None
    """What the service said about its failure."""
    never_joined: bool = False
    """Whether it signaled ready by HTTP and was not in the room in time. A late join makes that void."""
    lost_with_room: bool = False
    """Whether LiveKit lost the room that it was invited to. The same instance is invited again as the next attempt."""
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
        return self.timeline.left is not None or self.lost_with_room

    @property
    def is_under_way(self) -> bool:
        """Whether the outcome of its invite is not known yet."""
        return self.in_flight or self.is_interrupted

    @property
    def has_appeared(self) -> bool:
        """It joined, or signaled over HTTP that it is ready."""
        return self.timeline.joined is not None or self.ready_by is not None

    @property
    def refused(self) -> bool:
        """It declined the invite, could not be reached, or has no worker."""
        return self.refusal is not None and not self.is_under_way and not self.has_appeared

    @property
    def refused_for_good(self) -> bool:
        return self.refusal is not None and not self.is_under_way and self.retry_at == math.inf

    @property
    def declined(self) -> bool:
        """It was reached and declined: it is healthy but has no capacity."""
        return self.refused and self.refusal is Refusal.DECLINED

    @property
    def is_ready(self) -> bool:
        if self.ready_by is None or self.reported_failure or self.never_joined or self.lost_with_room:
            return False
        return self.timeline.left is None  # as `lost`, without a call: it is asked of every service at every event

    @property
    def state(self) -> ServiceState:
        if self.is_ready:
            return ServiceState.READY
        if self.reported_failure:
            return ServiceState.FAILED
        if self.lost:
            return ServiceState.LOST
        if self.never_joined:
            return ServiceState.FAILED
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
    def unseen_since(self) -> float | None:
        """When it signaled ready by HTTP; None unless it is ready only by that and was not seen in the room yet."""
        is_unseen = self.state is ServiceState.READY and self.timeline.joined is None
        return self.timeline.ready if is_unseen else None

    @property
    def may_be_asked_again(self) -> bool:
        """Whether the same invite may be sent again. An agent that is dispatched again would join twice."""
        if self.is_interrupted:
            return not self.has_appeared
        if self.overdue_since is not None:
            return self.instance.agent_name is None
        return self.refused and not self.refused_for_good and not self.reported_failure

    @property
    def fault(self) -> ServiceReason | None:
        """What went wrong so far; None while it may only need more time."""
        match self.state:
            case ServiceState.FAILED if self.reported_failure:
                return ServiceReason.REPORTED_FAILURE
            case ServiceState.LOST if self.lost_with_room:
                return ServiceReason.ROOM_LOST
            case ServiceState.LOST:
                return ServiceReason.LEFT
            case ServiceState.FAILED if self.never_joined:
                return ServiceReason.NEVER_JOINED
            case ServiceState.INVITED | ServiceState.FAILED if self.refusal is not None:
                return ServiceReason(self.refusal)
        return None

    @property
    def fault_detail(self) -> str | None:
        """What there is to say about a fault that the service reported, or that is a refused invite."""
        if self.reported_failure:
            return self.failure_detail
        return self.refusal_detail if self.refusal is not None and self.fault == str(self.refusal) else None

    @property
    def shortfall(self) -> ServiceReason | None:
        """Why it was not ready at the deadline; None if it was ready."""
        match self.state:
            case ServiceState.READY:
                return None
            case ServiceState.JOINED:
                return ServiceReason.JOINED_NOT_READY
        return self.fault or ServiceReason.NEVER_JOINED
