"""Progress of a session: each step of each of its services, as it happens."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from http_api.cli.sessions import why_not_ready
from manager_agent.characters import visible
from session_manager_client.models import RequiredServiceInfo, SessionInfo, TimelineInfo

if TYPE_CHECKING:
    from rich.console import Console

STEPS = ("invited", "accepted", "joined", "ready")
NAME_WIDTH = 12


@dataclass(frozen=True, slots=True, order=True)
class ProgressLine:
    ms: float
    """Milliseconds since the session was requested."""
    entry: int
    attempt: int
    name: str
    step: str

    @property
    def text(self) -> str:
        number = f" (attempt {self.attempt})" if self.attempt > 1 else ""
        return f"{self.name:{NAME_WIDTH}} {self.step}{number}"


def steps_of(session: SessionInfo) -> list[ProgressLine]:
    """Every step of the session's services so far, in order of time. PURE."""
    return sorted(
        ProgressLine(since_asked(session, service.timeline[step]), entry, service.attempt, name_of(service), step)
        for entry, service in enumerate(session.services)
        for step in STEPS
        if step in service.timeline
    )


def failed_attempts(session: SessionInfo, timeline: TimelineInfo) -> list[ProgressLine]:
    """The attempts that another one has replaced, with what was wrong. PURE."""
    return sorted(
        ProgressLine(
            since_asked(session, past.until),
            past.entry,
            past.attempt,
            past.service_id,
            f"attempt {past.attempt} failed: {why_not_ready(past) or 'replaced'}",
        )
        for past in timeline.attempts
        if past.until is not None
    )


def name_of(service: RequiredServiceInfo) -> str:
    """The service id, or the required type until an instance is chosen."""
    return service.service_id or service.type or "-"


def since_asked(session: SessionInfo, at: str) -> float:
    """Milliseconds from the request to this instant."""
    return (datetime.fromisoformat(at) - datetime.fromisoformat(session.created_at)).total_seconds() * 1000


@dataclass(slots=True)
class Progress:
    """Print each step once, however often the session is shown."""

    console: Console | None
    """None: print nothing."""
    _shown: set[tuple[int, int, str]] = field(default_factory=set)
    _failed: dict[int, int] = field(default_factory=dict)
    """The number of failed attempts shown, by entry."""

    def lacks_attempts(self, session: SessionInfo) -> bool:
        """Whether attempts have failed that are not shown yet. A session has only the current ones: the rest is in its
        timeline."""
        return any(service.attempt - 1 > self._failed.get(entry, 0) for entry, service in enumerate(session.services))

    def show_failed(self, session: SessionInfo, timeline: TimelineInfo) -> None:
        for attempt in failed_attempts(session, timeline):
            if attempt.attempt > self._failed.get(attempt.entry, 0):
                self._failed[attempt.entry] = attempt.attempt
                self._line(attempt.ms, f"{attempt.name:{NAME_WIDTH}} {attempt.step}", "red")

    def show(self, session: SessionInfo) -> None:
        for step in steps_of(session):
            if (step.entry, step.attempt, step.step) not in self._shown:
                self._shown.add((step.entry, step.attempt, step.step))
                self._line(step.ms, step.text, "green" if step.step == "ready" else "")

    def ready(self, session: SessionInfo) -> None:
        assert session.ready_at is not None
        self._line(since_asked(session, session.ready_at), "ready: the token", "green")

    def _line(self, ms: float, text: str, color: str) -> None:
        if self.console is not None:
            self.console.print(f"{ms:7.0f} ms  {visible(text)}", style=color, markup=False, soft_wrap=True)
