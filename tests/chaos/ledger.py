"""Everything that the session manager acknowledged: to clients, to services and to the receivers of callbacks."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from manager_agent.messages import Invite
from tests.wall_clock import MachineClock

View = dict[str, Any]


class InvitedAs(NamedTuple):
    """One attempt of a required service."""

    session_id: str
    service_id: str
    attempt: int


@dataclass(slots=True)
class KnownSession:
    """What was acknowledged of one session."""

    session_id: str
    first: View
    """The first answer about it."""
    recorded: View | None = None
    """The newest answer that had a token, or callback: the room's record has what it says."""
    recorded_revision: int = 0
    over: View | None = None
    """The first answer that says that it is over."""
    is_unwanted: bool = False
    """Whether its end was requested: from then on it may be over."""
    humans: int = 0
    """Those who are in the room."""
    shown: dict[int, View] = field(default_factory=dict)
    """What was shown of it, by revision."""
    services_told: str = ""
    """Why it is over, according to a message to one of its services."""

    @property
    def was_ready(self) -> bool:
        """Whether it was shown to be ready: one may be over before."""
        return any(view["state"] in ("ready", "active") for view in self.shown.values())


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken."""

    promise: str
    what: str

    def __str__(self) -> str:
        return f"{self.promise}: {self.what}"


@dataclass(slots=True)
class Ledger:
    clock: MachineClock = field(default_factory=MachineClock)
    sessions: dict[str, KnownSession] = field(default_factory=dict)
    invite_ids: dict[InvitedAs, set[str]] = field(default_factory=lambda: defaultdict(set))
    said_ready: set[InvitedAs] = field(default_factory=set)
    """Those that began to say so, in whatever way."""
    ready_acknowledged: set[InvitedAs] = field(default_factory=set)
    failed: set[InvitedAs] = field(default_factory=set)
    """Those that were told to fail."""
    joined: set[InvitedAs] = field(default_factory=set)
    reconnected: set[InvitedAs] = field(default_factory=set)
    """Those whose connection the SDK had to restore: they may have joined anew, and then say again that they are
    ready."""
    is_starved: bool = False
    """Whether this machine was too slow for invites to be answered in time: then only a service that joined is well."""
    rooms_are_lost: bool = False
    """Whether LiveKit restarted: all participants are out of their rooms, and calls are over."""
    participants_are_cut_off: bool = False
    """Whether a LiveKit node was killed: its participants come back through another one, but services may be missed
    meanwhile. Everything else holds."""
    callbacks: list[View] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    acknowledged: int = 0
    """Everything that was acknowledged, counted."""

    def breaks(self, promise: str, what: str) -> None:
        self.violations.append(Violation(promise, f"[{time.strftime('%H:%M:%S')}] {what}"))

    def answered(self, view: View) -> KnownSession:
        """A client got this answer about a session."""
        self.acknowledged += 1
        known = self.sessions.get(view["session_id"])
        if known is None:
            known = self.sessions[view["session_id"]] = KnownSession(view["session_id"], view)
        self._check_revision(known, view)
        if "access_token" in view:
            self._check_token(view, "a client")
            self._record(known, view)
        if view["reason"] is not None and known.over is None:
            known.over = view
        return known

    def called_back(self, event: View) -> None:
        """The receiver of callbacks got this event."""
        self.acknowledged += 1
        self.callbacks.append(event)
        view = event["session"]
        if view["state"] in ("ready", "active"):
            self._check_token(view, "a callback")
        if known := self.sessions.get(view["session_id"]):
            self._check_revision(known, view)
            self._record(known, view)
            if view["reason"] is not None and known.over is None:
                known.over = view

    def invited(self, invite: Invite) -> InvitedAs:
        self.acknowledged += 1
        ids = self.invite_ids[key := InvitedAs(invite.session.session_id, invite.service_id, invite.attempt)]
        ids.add(invite.id)
        if len(ids) > 1:
            self.breaks("one invite id per attempt", f"{key} was invited as {sorted(ids)}")
        return key

    def ready_is_known(self, key: InvitedAs, revision: int = 0) -> None:
        """A service got the acknowledgement that it is ready."""
        self.acknowledged += 1
        self.ready_acknowledged.add(key)
        if known := self.sessions.get(key.session_id):
            known.recorded_revision = max(known.recorded_revision, revision)

    def session_ended(self, session_id: str, reason: str) -> None:
        """A service was told that its session is over."""
        self.acknowledged += 1
        if known := self.sessions.get(session_id):
            known.services_told = reason

    def is_well(self, key: InvitedAs) -> bool:
        """Whether there is no reason to replace this service."""
        if self.rooms_are_lost or self.participants_are_cut_off:
            return False
        return key not in self.failed and (key in self.joined or not self.is_starved)

    def missing_callbacks(self) -> list[tuple[str, str]]:
        """Session and event of each state that a client was told and the receiver of callbacks was not."""
        arrived = {(event["session"]["session_id"], event["event"]) for event in self.callbacks}
        told = [(one.session_id, "session_ready") for one in self.sessions.values() if one.was_ready]
        told += [(one.session_id, f"session_{one.over['state']}") for one in self.sessions.values() if one.over]
        return [one for one in told if one not in arrived]

    def comparable(self, known: KnownSession) -> KnownSession:
        """What must be true of the session in the next process as well."""
        views = {name: self.clock.comparable(getattr(known, name)) for name in ("first", "recorded", "over")}
        return replace(known, **views)

    def alive(self) -> Iterable[KnownSession]:
        """Those that may not be over."""
        return [one for one in self.sessions.values() if not one.is_unwanted and one.over is None]

    def _check_revision(self, known: KnownSession, view: View) -> None:
        """A client that has a revision is told that it is the newest: it must stand for one state alone."""
        shown = {name: value for name, value in view.items() if "token" not in name and name != "server_url"}
        before = self.clock.comparable(known.shown.setdefault(view["revision"], shown))
        shown = self.clock.comparable(shown)
        if before != shown:
            differences = {name: (value, shown[name]) for name, value in before.items() if value != shown[name]}
            what = f"revision {view['revision']} of {known.session_id} was shown with {differences}"
            self.breaks("one state per revision", what)

    def _record(self, known: KnownSession, view: View) -> None:
        if known.recorded is None or view["revision"] >= known.recorded["revision"]:
            known.recorded = view
        known.recorded_revision = max(known.recorded_revision, view["revision"])

    def _check_token(self, view: View, who: str) -> None:
        for service in view["services"]:
            key = InvitedAs(view["session_id"], service["service_id"], service["attempt"])
            if not service["optional"] and key not in self.said_ready:
                self.breaks("no token early", f"{who} saw {view['state']} before {key} said ready")
