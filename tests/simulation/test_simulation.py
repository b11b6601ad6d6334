"""Many replicas, LiveKit and Redis on a virtual clock: whatever fails, what was promised holds."""

from __future__ import annotations

import pytest

from tests.simulation.history import FaultKind, History, PlannedSession, SimulatedFault, drawn
from tests.simulation.world import World

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("kind", FaultKind)
def test_nothing_is_lost_in_any_fault(kind: FaultKind) -> None:
    history = drawn(7, nodes=3, sessions=20, rate=0.7, kinds=[kind])
    assert history.faults
    outcome = World(history).run()
    assert outcome.violations == ()
    assert outcome.acknowledged > 0


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_lost_in_a_history_of_many_faults(seed: int) -> None:
    outcome = World(drawn(seed, nodes=4, sessions=60, rate=0.5)).run()
    assert outcome.violations == ()


def test_without_faults_all_sessions_come_to_a_good_end() -> None:
    outcome = World(drawn(1, sessions=50, kinds=())).run()
    assert outcome.violations == ()
    assert (outcome.acknowledged, outcome.recovered) == (50, 0)
    assert sum(outcome.reasons.values()) == 50
    assert outcome.reasons.keys() <= {"closed", "user_left", "user_never_joined"}


def test_the_same_history_gives_the_same_run() -> None:
    history = drawn(5, nodes=3, sessions=15)
    assert World(history).run() == World(history).run()
    assert World(history).run().digest != World(drawn(6, nodes=3, sessions=15)).run().digest


def test_a_killed_replica_s_sessions_are_taken_over() -> None:
    sessions = tuple(PlannedSession(number / 10, number) for number in range(30))
    outcome = World(History(1, 3, sessions, (SimulatedFault(6.0, FaultKind.KILL, 0, 60.0),))).run()
    assert outcome.violations == ()
    assert outcome.takes > 3


def test_an_empty_redis_is_filled_by_the_replicas() -> None:
    sessions = tuple(PlannedSession(number / 10, number) for number in range(30))
    outcome = World(History(1, 3, sessions, (SimulatedFault(6.0, FaultKind.REDIS_EMPTY, 0, 1.0),))).run()
    assert outcome.violations == ()
    assert outcome.recovered == 0


def test_an_empty_redis_is_filled_from_the_rooms_if_all_replicas_are_new() -> None:
    sessions = tuple(PlannedSession(number / 10, number) for number in range(30))
    killed = tuple(SimulatedFault(6.0, FaultKind.KILL, number, 2.0) for number in range(3))
    outcome = World(History(1, 3, sessions, (*killed, SimulatedFault(6.0, FaultKind.REDIS_EMPTY, 0, 1.0)))).run()
    assert outcome.violations == ()
    assert outcome.recovered == 30
