"""Metrics of sessions and their services: every change in the store, counted and timed."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from http_api.observability.metrics.awaited import AwaitedWebhooks
from http_api.observability.metrics.labels import Bounded
from manager_agent.session.attempt import ServiceReason
from manager_agent.session.change_values import (
    AttemptEnded,
    AttemptStarted,
    AttemptStep,
    InviteAnswered,
    InviteOutcome,
    ManagerDispatchedAgain,
    RoomLost,
    SessionChange,
    SessionCreated,
    SessionEnded,
    SessionReady,
    StepTaken,
    WebhookAwaited,
)
from manager_agent.session.events import Evidence
from manager_agent.session.session import FAILURES, EndReason, Session, SessionState
from manager_agent.store.store import Change

REFUSING = frozenset({ServiceReason.NOT_REGISTERED, ServiceReason.NO_CAPACITY})
"""The reasons for which a request for a session is refused."""
ATTEMPT_REASONS = tuple(reason for reason in ServiceReason if reason not in REFUSING)
"""The reasons for which an attempt fails."""
SECONDS = (0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 15, 20, 30, 60)
"""Most sessions are ready within one or two, and within ten if a service was replaced."""
STEPS = {
    AttemptStep.ACCEPTED: (
        "session_manager_service_time_to_accept_seconds",
        "Time from the start of an attempt until the service accepted its invite.",
    ),
    AttemptStep.JOINED: (
        "session_manager_service_time_to_join_seconds",
        "Time from the start of an attempt until the service joined the room.",
    ),
    AttemptStep.READY: (
        "session_manager_service_time_to_ready_seconds",
        "Time from the start of an attempt until the service was ready for the first time.",
    ),
}


class SessionMetrics:
    """`tell` is a listener for the store."""

    def __init__(
        self, registry: CollectorRegistry, types: Bounded, profiles: Bounded, awaited: AwaitedWebhooks
    ) -> None:
        self._types, self._profiles, self._awaited = types, profiles, awaited
        self._types_asked_for = Bounded()
        self.known_types: set[str] = set()
        """The label values of types with a service that is or was registered."""
        self._created = Counter(
            "session_manager_sessions_created_total",
            "Sessions that got a room or ended without one.",
            ["profile"],
            registry=registry,
        )
        self._time_to_ready = Histogram(
            "session_manager_session_time_to_ready_seconds",
            "Time from the request of a session until all its services were ready for the first time.",
            ["profile"], registry=registry, buckets=SECONDS,
        )  # fmt: skip
        self._ended = Counter(
            "session_manager_sessions_ended_total", "Sessions that are over.", ["state", "reason"], registry=registry
        )
        self._steps = {
            step: Histogram(name, description, ["type"], registry=registry, buckets=SECONDS)
            for step, (name, description) in STEPS.items()
        }
        self._refused = Counter(
            "session_manager_services_refused_total", "Required services for which no service could be invited.",
            ["type", "reason"], registry=registry,
        )  # fmt: skip
        self._attempts = Counter(
            "session_manager_service_attempts_total", "Attempts to get a service.", ["type"], registry=registry
        )
        self._ready = Counter(
            "session_manager_services_ready_total", "Services that became ready, by evidence.",
            ["type", "evidence"], registry=registry,
        )  # fmt: skip
        self._replaced = Counter(
            "session_manager_service_replacements_total", "Attempts that were replaced by another.",
            ["type"], registry=registry,
        )  # fmt: skip
        self._failed = Counter(
            "session_manager_service_failures_total", "Attempts that failed.", ["type", "reason"],
            registry=registry,
        )  # fmt: skip
        self._invites = Counter(
            "session_manager_invites_total", "Invites by outcome.", ["type", "outcome"],
            registry=registry,
        )  # fmt: skip
        self._dispatched_again = Counter(
            "session_manager_manager_dispatches_repeated_total",
            "Manager dispatches repeated because the previous manager did not join or had left.", registry=registry,
        )  # fmt: skip
        self._rooms_lost = Counter(
            "session_manager_rooms_lost_total", "Rooms that LiveKit lost and that were made again.", registry=registry
        )
        for reason in EndReason:
            self._ended.labels(_state_of(reason), reason)

    def tell(self, change: Change) -> None:
        if change.session.owner:  # the probe's sessions have none
            for part in change.parts:
                self._take_in(change.session, part)

    def expect_profile(self, profile: str) -> None:
        """Create the series of this profile at zero."""
        shown = self._profiles.of(profile)
        self._created.labels(shown)
        self._time_to_ready.labels(shown)

    def expect_type(self, service_type: str) -> str:
        """Create the series of this service type at zero. Returns its label value."""
        shown = self._types.of(service_type)
        if shown not in self.known_types:
            self.known_types.add(shown)
            self._attempts.labels(shown)
            self._replaced.labels(shown)
            for step in STEPS:
                self._steps[step].labels(shown)
            for evidence in Evidence:
                self._ready.labels(shown, evidence)
            for reason in ATTEMPT_REASONS:
                self._failed.labels(shown, reason)
            for outcome in InviteOutcome:
                self._invites.labels(shown, outcome)
            for refusal in REFUSING:
                self._refused.labels(shown, refusal)
        return shown

    def refused(self, service_type: str, reason: ServiceReason) -> None:
        """A session was refused because no such service is available. Unknown types do not use up the label values of
        known ones."""
        known = service_type in self.known_types
        self._refused.labels(service_type if known else self._types_asked_for.of(service_type), reason).inc()

    def _take_in(self, session: Session, part: SessionChange) -> None:
        match part:
            case SessionCreated():
                self._created.labels(self._profiles.of(session.profile)).inc()
                for service in session.services:
                    self.expect_type(service.type)
            case SessionReady(seconds):
                self._time_to_ready.labels(self._profiles.of(session.profile)).observe(seconds)
            case SessionEnded(reason) if not session.room.taken:
                self._ended.labels(_state_of(reason), reason).inc()
            case RoomLost():
                self._rooms_lost.inc()
            case AttemptStarted(entry):
                self._attempts.labels(self._type(session, entry)).inc()
            case StepTaken():
                self._take_in_step(session, part)
            case AttemptEnded(attempt=attempt, end=end):
                shown = self.expect_type(attempt.instance.type)
                if end is None:
                    self._replaced.labels(shown).inc()
                if part.failure is not None:
                    self._failed.labels(shown, part.failure).inc()
            case InviteAnswered(entry, outcome):
                self._invites.labels(self._type(session, entry), outcome).inc()
            case ManagerDispatchedAgain():
                self._dispatched_again.inc()
            case WebhookAwaited(event, sid):
                self._awaited.expect(event, sid)

    def _take_in_step(self, session: Session, taken: StepTaken) -> None:
        shown, attempt = self._type(session, taken.entry), session.services[taken.entry].current
        if taken.step is AttemptStep.READY:
            if attempt.ready_by is None:
                return  # ready and lost in the same change
            self._ready.labels(shown, attempt.ready_by).inc()
        if taken.step in self._steps and taken.is_first:
            self._steps[taken.step].labels(shown).observe(max(0.0, taken.at - attempt.invited_at))

    def _type(self, session: Session, entry: int) -> str:
        return self.expect_type(session.services[entry].type)


def _state_of(reason: EndReason) -> SessionState:
    return SessionState.FAILED if reason in FAILURES else SessionState.ENDED
