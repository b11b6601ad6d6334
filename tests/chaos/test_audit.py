"""Which ends of sessions the audit takes for losses."""

from __future__ import annotations

import time
from random import Random
from typing import Any

import pytest

from tests.chaos.audit import KEEPS, LOST, Audit
from tests.chaos.ledger import Ledger
from tests.chaos.scripts_of_sessions import scripts

pytestmark = pytest.mark.chaos

SCRIPTS = {script.number: script for script in scripts(Random(1), 0)}
WITH_USER = 1


def a_view(state: str, revision: int, reason: str | None = None) -> dict[str, Any]:
    instants = {"created_at": "2026-11-28T02:45:58.278Z", "ready_deadline": "2026-11-28T02:46:28.278Z"}
    about = {"room_name": "r", "user_identity": "u", "user_name": "", **instants}
    ended_at = None if reason is None else "2026-11-28T02:50:00.000Z"
    live = {"state": state, "revision": revision, "reason": reason, "ended_at": ended_at, "services": []}
    return {"session_id": "s", "metadata": {"script": WITH_USER}, **about, **live}


def losses(ledger: Ledger, view: dict[str, Any]) -> int:
    """How many losses the audit finds if this is what is true in the end."""
    Audit(ledger, SCRIPTS).compare(ledger.sessions["s"], 200, view, room=None)
    return sum(violation.promise == LOST for violation in ledger.violations)


def test_a_session_that_failed_by_itself_is_lost_also_if_its_client_saw_it() -> None:
    ledger = Ledger()
    ledger.answered(a_view("ready", 1))
    ledger.answered(a_view("failed", 2, "services_failed"))
    assert losses(ledger, a_view("failed", 2, "services_failed")) == 1


def test_a_session_whose_end_was_requested_is_not_lost() -> None:
    ledger = Ledger()
    ledger.answered(a_view("ready", 1)).is_unwanted = True
    ledger.answered(a_view("ended", 2, "closed"))
    assert losses(ledger, a_view("ended", 2, "closed")) == 0


def test_a_call_that_was_under_way_when_livekit_restarted_is_not_lost() -> None:
    ledger = Ledger(rooms_are_lost=True)
    ledger.answered(a_view("active", 1))
    ledger.answered(a_view("ended", 2, "room_closed"))
    assert losses(ledger, a_view("ended", 2, "room_closed")) == 0


@pytest.mark.parametrize(("was_ready", "lost"), [(False, 0), (True, 1)])
def test_a_starved_machine_excuses_only_a_session_that_was_never_ready(was_ready: bool, lost: int) -> None:
    ledger = Ledger(is_starved=True)
    ledger.answered(a_view("ready" if was_ready else "waiting", 1))
    ledger.answered(a_view("failed", 2, "timeout"))
    assert losses(ledger, a_view("failed", 2, "timeout")) == lost


@pytest.mark.parametrize(("seconds", "changes"), [(0.0, 1), (31.0, 0)])
def test_instants_may_change_only_if_the_machines_clock_was_set(
    seconds: float, changes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, wall_clock = Ledger(), time.time
    ledger.answered(a_view("ended", 1, "closed")).is_unwanted = True
    monkeypatch.setattr(time, "time", lambda: wall_clock() + seconds)
    view = a_view("ended", 1, "closed") | {"created_at": "2026-11-28T02:46:29.278Z"}
    Audit(ledger, SCRIPTS).compare(ledger.sessions["s"], 200, view, room=None)
    assert sum(violation.promise == KEEPS for violation in ledger.violations) == changes
