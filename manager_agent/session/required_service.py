"""One required service of a session: its requirement, the current attempt to get it, and the past attempts.

PURE. The next attempt invites another instance, or the same one again. It starts without the facts of the earlier
attempts, and their signals no longer count.
"""

from __future__ import annotations

from collections.abc import Mapping

from manager_agent.frozen import Frozen, field, replace
from manager_agent.session.attempt import Attempt, InstanceRef, ServiceState, Timeline
from manager_agent.session.events import Chosen, Evidence
from manager_agent.session.participant import Presence

PAST_KEPT = 32
"""The maximum number of past attempts kept per entry."""


class Requirement(Frozen):
    """What a session requires: one service by its id, or any service of a type with these labels."""

    service_id: str | None = None
    type: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    optional: bool = False
    asked_as: str = ""
    """The name in a TokenSource request that stands for it, maybe among others; empty if it was requested otherwise."""


class RequiredService(Frozen):
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
