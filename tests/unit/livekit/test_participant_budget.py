"""How many messages of one participant are processed, and that others are not affected."""

from __future__ import annotations

import pytest

from manager_agent.livekit import participant_budget
from manager_agent.livekit.participant_budget import BURST, PER_SECOND, ParticipantBudget

pytestmark = pytest.mark.unit


class FakeClock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def taken(budget: ParticipantBudget, identity: str, *, of: int, what: str = "data") -> int:
    """How many of so many messages are processed."""
    return sum(budget.takes(identity, what) for _ in range(of))


def test_a_participant_may_send_a_burst_and_then_a_number_per_second() -> None:
    clock = FakeClock()
    budget = ParticipantBudget(clock)
    assert taken(budget, "mallory", of=1_000) == BURST
    clock.now += 0.5
    assert taken(budget, "mallory", of=1_000) == PER_SECOND / 2
    clock.now += 3_600
    assert taken(budget, "mallory", of=1_000) == BURST


def test_messages_of_all_kinds_share_the_budget_and_are_counted_by_kind() -> None:
    budget = ParticipantBudget(FakeClock())
    assert taken(budget, "mallory", of=int(BURST), what="rpc") == BURST
    assert taken(budget, "mallory", of=7, what="data") == taken(budget, "mallory", of=3, what="attributes") == 0
    assert budget.dropped == {"data": 7, "attributes": 3}


def test_a_participant_who_floods_leaves_the_budgets_of_others_alone() -> None:
    budget = ParticipantBudget(FakeClock())
    taken(budget, "mallory", of=1_000)
    assert taken(budget, "asr", of=10) == 10


def test_only_so_many_participants_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(participant_budget, "PARTICIPANTS_MAX", 2)
    budget = ParticipantBudget(FakeClock())
    for identity in ("first", "second", "second", "third"):
        taken(budget, identity, of=int(BURST))
    assert not budget.takes("second", "data")
    assert budget.takes("first", "data"), "the one that was heard of least recently is forgotten"
