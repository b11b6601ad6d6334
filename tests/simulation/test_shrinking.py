"""A history that fails is made short: what has nothing to do with the failure is left out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.simulation.history import FaultKind, History, SimulatedFault, drawn
from tests.simulation.invariants import Invariant
from tests.simulation.protocol_rules import RULES
from tests.simulation.shrinking import first_violation, shrunk
from tests.simulation.world import World

pytestmark = pytest.mark.unit


@pytest.fixture
def long_history() -> History:
    """Of these faults only the first one matters."""
    history = drawn(3, nodes=3, sessions=16, rate=0.5, kinds=())
    kinds = (FaultKind.KILL, FaultKind.WEBHOOKS_LOST, FaultKind.SERVICE_DOWN, FaultKind.LISTS_LAG)
    faults = tuple(SimulatedFault(8.0 + 2.0 * nth, kind, 0, 5.0) for nth, kind in enumerate(kinds))
    return replace(history, faults=faults)


def test_a_failing_history_is_shrunk_to_what_matters(long_history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(RULES), "takes_over", False)
    found = first_violation(long_history, Invariant.LATE_TAKE_OVER)
    assert found is not None
    short = shrunk(long_history, found)
    assert [fault.kind for fault in short.history.faults] == [FaultKind.KILL]
    assert (short.history.nodes, len(short.history.sessions)) == (2, 1)
    assert short.violation in World(short.history).run().violations
    assert str(short.history).count("\n") == 2
