"""Leases: never over early, and held when most are late at once. Time of our own absence does not count."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manager_agent.registry.leases import ABSENCE_MIN, EXPIRED_KEPT, GRACE_MIN, Lease, checked, next_due

pytestmark = pytest.mark.unit

TICK = 1.0


class Looking:
    """Leases that are looked at once a second, in virtual time."""

    def __init__(self, **seconds: float) -> None:
        self.now = 0.0
        self.leases = {name: Lease(length, 0.0) for name, length in seconds.items()}

    def look(self, after: float = TICK) -> None:
        before, self.now = self.now, self.now + after
        self.leases |= checked(self.leases, before, self.now)

    def until(self, instant: float, *beating: str, every: float = 5.0) -> None:
        """Look until that instant; `beating` send a heartbeat every `every` seconds."""
        heard_at = self.now
        while self.now < instant:
            self.look(min(TICK, instant - self.now))
            if self.now >= heard_at + every:
                heard_at = self.now
                self.beat(*beating)

    def beat(self, *names: str) -> None:
        self.leases |= {name: self.leases[name].renewed(self.now) for name in names}

    def over(self) -> set[str]:
        return {name for name, lease in self.leases.items() if lease.over_at <= self.now}


def test_a_lease_is_over_after_the_grace_and_not_before() -> None:
    """Half a lease, and never less than two seconds."""
    assert (Lease(20, 100).expires_at, Lease(20, 100).over_at) == (120, 130)
    assert Lease(1, 100).over_at == 101 + GRACE_MIN
    looking = Looking(dead=20, one=20, two=20)
    looking.until(29.5, "one", "two")
    assert looking.over() == set()
    looking.until(30, "one", "two")
    assert looking.over() == {"dead"}


def test_a_lease_that_is_the_only_one_is_not_held() -> None:
    """The only instance may have died."""
    looking = Looking(alone=20)
    looking.until(30)
    assert looking.over() == {"alone"}


def test_when_most_leases_are_late_at_once_they_are_held_once() -> None:
    """The manager may have been cut off: they get the time for a heartbeat. Those that use it are as they were."""
    looking = Looking(a=20, b=20, c=20, d=20)
    looking.until(31, "d")
    assert looking.over() == set()
    assert [name for name, lease in looking.leases.items() if lease.held] == ["a", "b", "c"]
    looking.beat("a", "b")
    looking.until(62, "a", "b", "d")
    assert looking.over() == {"c"}
    assert not any(looking.leases[name].held for name in "abd")


def test_leases_of_absent_instances_are_held_once_and_then_expire() -> None:
    looking = Looking(a=20, b=20, c=20)
    looking.until(59)
    assert looking.over() == set()
    looking.until(62)
    assert looking.over() == {"a", "b", "c"}
    looking.until(200)
    assert looking.over() == {"a", "b", "c"}


def test_heartbeats_that_stop_at_different_phases_are_late_together() -> None:
    """The grace is as long as the longest round should be, so that when the first is over all are late."""
    looking = Looking(a=20, b=20, c=20, d=20)
    for name in "abcd":
        looking.until(looking.now + 2.5)
        looking.beat(name)
    looking.until(2.5 + 30)
    assert looking.over() == set()
    assert all(lease.held for lease in looking.leases.values())


def test_leases_are_not_held_when_only_half_of_them_are_late() -> None:
    """The others are heard of, so these are gone."""
    looking = Looking(a=20, b=20, c=20, d=20)
    looking.until(30, "c", "d")
    assert looking.over() == {"a", "b"}


def test_expired_leases_do_not_count_when_most_are_late() -> None:
    """Otherwise old dead instances would make the next death look like an outage of ours."""
    looking = Looking(a=20, b=20, c=20, d=20, e=20)
    looking.until(31, "c", "d", "e")
    assert looking.over() == {"a", "b"}
    looking.until(70, "d", "e")
    assert looking.over() == {"a", "b", "c"}


@pytest.mark.parametrize("away", [3.0, 100.0, 86_400.0])
def test_time_in_which_leases_are_not_checked_does_not_count(away: float) -> None:
    """The process was suspended, or its loop blocked. A lease that was over before still is."""
    looking = Looking(dead=1, one=20, alone=20)
    looking.until(19, "one")
    assert looking.over() == {"dead"}
    looking.look(away)
    assert looking.over() == {"dead"}
    looking.until(19 + away + 9, "one")
    assert looking.over() == {"dead"}
    looking.until(19 + away + 12, "one")
    assert looking.over() == {"dead", "alone"}


def test_only_a_longer_pause_of_the_checks_counts_as_an_absence() -> None:
    lease = Lease(20, 0)
    assert checked({"a": lease}, 1.0, 1.0 + ABSENCE_MIN) == {"a": lease}
    assert checked({"a": lease}, 1.0, 2.0 + ABSENCE_MIN) == {"a": Lease(20, 1.0 + ABSENCE_MIN)}


def test_a_lease_that_was_just_over_at_the_last_check_stays_over() -> None:
    lease = Lease(20, 0)
    assert checked({"a": lease}, lease.over_at, lease.over_at + 1) == {}
    assert checked({"a": lease}, lease.over_at - 1, lease.over_at) == {"a": lease}


def test_a_lease_is_late_from_its_end_on() -> None:
    """One is over and the other at its end: both are held."""
    over, ending = Lease(20, 0), Lease(20, 10)
    assert over.over_at == ending.expires_at == 30
    held = Lease(20, 30, held=True)
    assert checked({"over": over, "ending": ending}, 29.5, 30) == {"over": held, "ending": held}


def test_the_next_instant_due_is_a_lease_that_ends_or_is_reaped() -> None:
    first, second = Lease(20, 0), Lease(20, 5)
    assert next_due([second, first], 29.9) == 30
    assert next_due([second, first], 30) == 35
    assert next_due([first], 30) == first.reaped_at == 30 + EXPIRED_KEPT
    assert next_due([first], first.reaped_at) == float("inf")


@settings(max_examples=300, derandomize=True)
@given(
    lengths=st.lists(st.floats(1, 60), min_size=1, max_size=6),
    steps=st.lists(st.tuples(st.floats(0.05, 40), st.sets(st.integers(0, 5))), max_size=40),
)
def test_a_lease_is_never_over_early(lengths: list[float], steps: list[tuple[float, set[int]]]) -> None:
    """Whatever is heard of whichever instance, and however rarely the leases are looked at."""
    looking = Looking(**{str(n): length for n, length in enumerate(lengths)})
    heard = dict.fromkeys(looking.leases, 0.0)
    for pause, beating in steps:
        looking.look(pause)
        for name, lease in looking.leases.items():
            if looking.now < heard[name] + lease.seconds:
                assert name not in looking.over()
        names = {str(n) for n in beating} & looking.leases.keys()
        looking.beat(*names)
        heard |= dict.fromkeys(names, looking.now)
    while len(looking.over()) < len(looking.leases) and looking.now < 10_000:
        looking.look()
    assert looking.now < 10_000, "late, but not never"
