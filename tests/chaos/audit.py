"""Compares the ledger with what is true after a disturbance."""

from __future__ import annotations

from manager_agent.messages import RoomStatus
from tests.chaos.ledger import InvitedAs, KnownSession, Ledger, View
from tests.chaos.scripts_of_sessions import SessionScript

KEPT = ("room_name", "user_identity", "user_name", "metadata", "created_at", "ready_deadline")
"""Fields that never change."""
LOST = "no acknowledged session is lost"
KEEPS = "an acknowledged session stays the same"
UNCHANGED = "what is recorded is not undone"


class Audit:
    def __init__(self, ledger: Ledger, scripts: dict[int, SessionScript]) -> None:
        self._ledger, self._scripts = ledger, scripts

    def compare(self, known: KnownSession, status: int, answer: View, room: RoomStatus | None) -> None:
        """An acknowledged session with the answer to GET, and with its room's metadata."""
        session_id = known.session_id
        if status != 200:
            self._ledger.breaks(LOST, f"GET of {session_id}: {status} {answer}")
            return
        known, view = self._ledger.comparable(known), self._ledger.clock.comparable(answer)
        for name in KEPT:
            if view[name] != known.first[name] and not self._may_change(name):
                self._ledger.breaks(KEEPS, f"{name} of {session_id} was {known.first[name]!r}, is {view[name]!r}")
        if known.services_told and view["reason"] is None:
            what = f"services were told that {session_id} is over ({known.services_told}), is {_short(view)}"
            self._ledger.breaks(UNCHANGED, what)
        over = known.over or view
        if (view["reason"], view["ended_at"]) != (over["reason"], over["ended_at"]):
            self._ledger.breaks(UNCHANGED, f"{session_id} had ended, now: {_short(view)}")
        if not known.is_unwanted:
            self._compare_live(known, view, room)
        if view["revision"] < known.recorded_revision:
            what = f"revision of {session_id} was {known.recorded_revision}, is {view['revision']}"
            self._ledger.breaks(UNCHANGED, what)

    def _may_change(self, name: str) -> bool:
        return name == "ready_deadline" and self._ledger.rooms_are_lost

    def _compare_live(self, known: KnownSession, view: View, room: RoomStatus | None) -> None:
        session_id = known.session_id
        script = self._scripts[known.first["metadata"]["script"]]
        has_people = script.user_joins or script.invites_guest
        if self._ledger.rooms_are_lost and has_people and view["reason"] == "room_closed":
            return  # its call was under way
        if self._ledger.is_starved and view["state"] == "failed" and not known.was_ready:
            return  # its services had too little time
        if view["reason"] is not None:
            self._ledger.breaks(LOST, f"{session_id} ended by itself: {_short(view)}")
            return
        if room is None:
            self._ledger.breaks(LOST, f"{session_id} has no room: {_short(view)}")
        if self._ledger.rooms_are_lost:
            return  # its services were needed again
        if known.recorded is not None and known.recorded["ready_at"] != view["ready_at"]:
            what = f"ready_at of {session_id} was {known.recorded['ready_at']}, is {view['ready_at']}"
            self._ledger.breaks(UNCHANGED, what)
        for service in view["services"]:
            self._compare_service(session_id, service, script)
        if known.recorded is not None:
            self._compare_attempts(known.recorded, view)

    def _compare_service(self, session_id: str, service: View, script: SessionScript) -> None:
        entry = script.entry_of(service["service_id"])
        for number in range(1, service["attempt"]):
            before = [InvitedAs(session_id, service_id, number) for service_id in script.entries[entry].service_ids]
            if all(map(self._ledger.is_well, before)):
                self._ledger.breaks("nobody well is replaced", f"attempt {number} of {session_id} was, now: {service}")
        key = InvitedAs(session_id, service["service_id"], service["attempt"])
        if key in self._ledger.ready_acknowledged and service["state"] != "ready":
            self._ledger.breaks(UNCHANGED, f"{key} was acknowledged as ready, is {service}")

    def _compare_attempts(self, recorded: View, view: View) -> None:
        for before, after in zip(recorded["services"], view["services"], strict=True):
            if after["attempt"] < before["attempt"]:
                self._ledger.breaks(UNCHANGED, f"{recorded['session_id']}: {before} became {after}")
            key = InvitedAs(recorded["session_id"], after["service_id"], after["attempt"])
            if after["attempt"] != before["attempt"] or key in self._ledger.reconnected:
                continue
            if not before["timeline"].items() <= after["timeline"].items():
                self._ledger.breaks(UNCHANGED, f"{recorded['session_id']}: timeline {before} became {after}")


def _short(view: View) -> str:
    services = [(one["service_id"], one["attempt"], one["state"], one["reason"]) for one in view["services"]]
    return f"{view['state']} {view['reason']} at {view['ended_at']}, {services}"
