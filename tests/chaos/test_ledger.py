"""Which callbacks the ledger expects."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos.ledger import Ledger

pytestmark = pytest.mark.chaos


def a_view(state: str, revision: int, reason: str | None = None) -> dict[str, Any]:
    return {"session_id": "s", "state": state, "revision": revision, "reason": reason, "services": []}


def test_a_session_that_was_over_before_it_was_ready_owes_no_callback_about_ready() -> None:
    ledger = Ledger()
    ledger.answered(a_view("waiting", 1))
    ledger.called_back({"event": "session_ended", "session": a_view("ended", 2, "closed")})
    assert ledger.missing_callbacks() == []


def test_a_session_that_was_shown_ready_and_over_owes_callbacks_about_both() -> None:
    ledger = Ledger()
    ledger.answered(a_view("ready", 1))
    ledger.answered(a_view("ended", 2, "closed"))
    assert ledger.missing_callbacks() == [("s", "session_ready"), ("s", "session_ended")]
