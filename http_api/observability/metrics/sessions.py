"""What becomes of sessions and of their services: every change of the store, counted and timed."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from http_api.observability.metrics.awaited import AwaitedWebhooks
from http_api.observability.metrics.labels import Bounded
from manager_agent.session.changes import (
    ATTEMPT_REASONS,
    REFUSING,
    AttemptBegan,
    AttemptStep,
    InviteAnswered,
    InviteOutcome,
    ManagerDispatchedAgain,
    Observation,
    ServiceFailed,
    ServiceReady,
    ServiceReplaced,
    SessionCreated,
    SessionEnded,
    SessionReady,
    StepTaken,
    WebhookAwaited,
    observations,
)
from manager_agent.session.events import Evidence
from manager_agent.session.session import FAILURES, EndReason, ServiceReason, SessionState
from manager_agent.store.store import Change

SECONDS = (0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 15, 20, 30, 60)
"""A session is ready within one or two, as a rule, and with one that was replaced within ten."""
STEPS = {
    AttemptStep.ACCEPT: (
        "session_manager_service_time_to_accept_seconds",
        "From when an attempt to get a service began until it accepted its invite.",
    ),
    AttemptStep.JOIN: (
        "session_manager_service_time_to_join_seconds",
        "From when an attempt to get a service began until it was in the room.",
    ),
    AttemptStep.READY: (
        "session_manager_service_time_to_ready_seconds",
        "From when an attempt to get a service began until it was ready for the first time.",
    ),
}


class SessionMetrics:
    """`hear` is for the store's listen()."""

    def __init__(
        self, registry: CollectorRegistry, types: Bounded, profiles: Bounded, awaited: AwaitedWebhooks
    ) -> None:
        self._types, self._profiles, self._awaited = types, profiles, awaited
        self._types_asked_for = Bounded()
        self.known_types: set[str] = set()
        """Those that are shown, of services that there are or were."""
        self._created = Counter(
            "session_manager_sessions_created_total",
            "Sessions that got a room, or ended without.",
            ["profile"],
            registry=registry,
        )
        self._time_to_ready = Histogram(
            "session_manager_session_time_to_ready_seconds",
            "From when a session was asked for until all its services were ready for the first time.",
            ["profile"], registry=registry, buckets=SECONDS,
        )  # fmt: skip
        self._ended = Counter(
            "session_manager_sessions_ended_total", "Sessions that are over.", ["state", "reason"], registry=registry
        )
        self._steps = {
            step: Histogram(name, says, ["type"], registry=registry, buckets=SECONDS)
            for step, (name, says) in STEPS.items()
        }
        self._refused = Counter(
            "session_manager_services_refused_total", "Required services that nobody could be invited as.",
            ["type", "reason"], registry=registry,
        )  # fmt: skip
        self._attempts = Counter(
            "session_manager_service_attempts_total", "Attempts to get a service.", ["type"], registry=registry
        )
        self._ready = Counter(
            "session_manager_services_ready_total", "Services that became ready, by what made them so.",
            ["type", "evidence"], registry=registry,
        )  # fmt: skip
        self._replaced = Counter(
            "session_manager_service_replacements_total", "Attempts that another one took the place of.",
            ["type"], registry=registry,
        )  # fmt: skip
        self._failed = Counter(
            "session_manager_service_failures_total", "Attempts that came to nothing.", ["type", "reason"],
            registry=registry,
        )  # fmt: skip
        self._invites = Counter(
            "session_manager_invites_total", "Invites that were answered, or could not be.", ["type", "outcome"],
            registry=registry,
        )  # fmt: skip
        self._dispatched_again = Counter(
            "session_manager_manager_dispatches_repeated_total",
            "Managers that were dispatched because the one before did not come, or was gone.", registry=registry,
        )  # fmt: skip
        for reason in EndReason:
            self._ended.labels(_state_of(reason), reason)

    def hear(self, change: Change) -> None:
        """Takes in a change of a session. It is called for every one of them."""
        for observation in observations(change.before, change.after, change.event):
            self._take_in(observation)

    def expect_profile(self, profile: str) -> None:
        """Has its series begin at zero."""
        shown = self._profiles.of(profile)
        self._created.labels(shown)
        self._time_to_ready.labels(shown)

    def expect_type(self, service_type: str) -> str:
        """Has its series begin at zero. What is shown for this type of service."""
        shown = self._types.of(service_type)
        if shown not in self.known_types:
            self.known_types.add(shown)
            self._attempts.labels(shown)
            self._replaced.labels(shown)
            for step in AttemptStep:
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
        """A session was refused for want of this service. Types that there never were take no place of those that there
        are."""
        known = service_type in self.known_types
        self._refused.labels(service_type if known else self._types_asked_for.of(service_type), reason).inc()

    def _take_in(self, observation: Observation) -> None:
        match observation:
            case SessionCreated(profile, types):
                self._created.labels(self._profiles.of(profile)).inc()
                for service_type in types:
                    self.expect_type(service_type)
            case SessionReady(profile, seconds):
                self._time_to_ready.labels(self._profiles.of(profile)).observe(seconds)
            case SessionEnded(reason):
                self._ended.labels(_state_of(reason), reason).inc()
            case AttemptBegan(service_type):
                self._attempts.labels(self.expect_type(service_type)).inc()
            case StepTaken(service_type, step, seconds):
                self._steps[step].labels(self.expect_type(service_type)).observe(seconds)
            case ServiceReady(service_type, evidence):
                self._ready.labels(self.expect_type(service_type), evidence).inc()
            case ServiceReplaced(service_type):
                self._replaced.labels(self.expect_type(service_type)).inc()
            case ServiceFailed(service_type, reason):
                self._failed.labels(self.expect_type(service_type), reason).inc()
            case InviteAnswered(service_type, outcome):
                self._invites.labels(self.expect_type(service_type), outcome).inc()
            case ManagerDispatchedAgain():
                self._dispatched_again.inc()
            case WebhookAwaited(event, sid):
                self._awaited.expect(event, sid)


def _state_of(reason: EndReason) -> SessionState:
    return SessionState.FAILED if reason in FAILURES else SessionState.ENDED
