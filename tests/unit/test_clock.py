"""The process's clock and its comparison with the clock of an earlier process."""

from __future__ import annotations

import time

import pytest

from manager_agent.clock import SteadyClock

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_jump_of_the_wall_clock_does_not_change_it(jump: float, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, wall_clock = SteadyClock(), time.time
    before = clock()
    monkeypatch.setattr(time, "time", lambda: wall_clock() + jump)
    assert before <= clock() < before + 600


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_the_clock_of_the_next_process_of_the_machine_is_compared_exactly(
    jump: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, wall_clock = SteadyClock("boot"), time.time
    monkeypatch.setattr(time, "time", lambda: wall_clock() + jump)
    second = SteadyClock("boot")
    assert second.origin is not None
    assert second.origin.ahead_of(first.origin) == pytest.approx(jump, abs=5)


def test_clocks_of_two_machines_can_not_be_compared() -> None:
    here, there = SteadyClock("boot"), SteadyClock("another boot")
    assert here.origin is not None
    assert here.origin.ahead_of(there.origin) is None
    assert here.origin.ahead_of(None) is None


def test_the_origin_does_not_show_when_the_machine_was_started() -> None:
    clock = SteadyClock("boot")
    assert clock.origin is not None
    assert abs(clock.origin.at - (time.time() - time.monotonic())) > 1_000_000
    assert "boot" not in clock.origin.machine


def test_a_machine_without_a_boot_id_has_no_origin() -> None:
    assert SteadyClock("").origin is None
