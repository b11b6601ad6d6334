"""So many requests a second, and so many at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from http_api.limits.gcra import Allowances, Rate
from http_api.limits.rate_limits import address_of
from tests.unit.virtual_time import VirtualClock

pytestmark = pytest.mark.unit

RATE = Rate(per_second=10, burst=5)
START = 1_766_400_000.0  # as large as today's, so that rounding is the same


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


@pytest.fixture
def allowances(clock: VirtualClock) -> Allowances:
    return Allowances(RATE, clock)


def taken(allowances: Allowances, times: int, name: str = "a") -> int:
    """How many of so many requests passed."""
    return sum(allowances.take(name).granted for _ in range(times))


def test_a_burst_passes_and_what_is_beyond_it_does_not(allowances: Allowances) -> None:
    assert taken(allowances, 20) == RATE.burst


def test_one_more_passes_for_each_interval_that_goes_by(allowances: Allowances, clock: VirtualClock) -> None:
    taken(allowances, 20)
    for _ in range(30):
        clock.now += RATE.interval
        assert taken(allowances, 3) == 1


def test_who_was_silent_for_the_window_has_his_whole_burst_again_and_no_more(
    allowances: Allowances, clock: VirtualClock
) -> None:
    for silence in (RATE.window, 10 * RATE.window, 1e6):
        taken(allowances, 20)
        clock.now += silence
        assert taken(allowances, 20) == RATE.burst


def test_one_has_nothing_to_do_with_another(allowances: Allowances) -> None:
    taken(allowances, 20, "a")
    assert taken(allowances, 20, "b") == RATE.burst


def test_what_is_refused_costs_nothing(allowances: Allowances, clock: VirtualClock) -> None:
    """Else a client that tries too soon would never be let in again."""
    taken(allowances, 1_000)
    clock.now += RATE.interval
    assert allowances.take("a").granted


def test_to_look_costs_nothing_and_says_what_taking_would(allowances: Allowances) -> None:
    for left in range(RATE.burst, 0, -1):
        assert all(allowances.look("a").granted for _ in range(3))
        assert allowances.look("a").remaining == left
        allowances.take("a")
    assert not allowances.look("a").granted


def test_who_is_refused_learns_when_to_come_again(allowances: Allowances, clock: VirtualClock) -> None:
    taken(allowances, RATE.burst)
    refused = allowances.take("a")
    assert not refused.granted
    assert refused.retry_after == pytest.approx(RATE.interval, abs=1e-5)
    clock.now += refused.retry_after
    assert allowances.take("a").granted


def test_the_headers_say_policy_and_state(allowances: Allowances, clock: VirtualClock) -> None:
    """100 in 2 seconds is 50 a second."""
    allowances = Allowances(Rate(50, 100), clock)
    assert allowances.take("a").headers() == {
        "RateLimit-Policy": '"default";q=100;w=2',
        "RateLimit": '"default";r=99;t=1',
    }
    taken(allowances, 99)
    assert allowances.take("a").headers()["RateLimit"] == '"default";r=0;t=1'


def test_of_a_request_that_is_refused_the_reset_is_when_it_may_be_tried_again(clock: VirtualClock) -> None:
    """Though it takes longer until all may be used."""
    allowances = Allowances(Rate(0.1, 3), clock)
    taken(allowances, 2)
    assert allowances.take("a").headers()["RateLimit"] == '"default";r=0;t=30'
    refused = allowances.take("a")
    assert refused.headers()["RateLimit"] == '"default";r=0;t=10'
    assert refused.retry_after == pytest.approx(10, abs=1e-5)


def test_who_has_paid_off_is_forgotten(clock: VirtualClock) -> None:
    """The table holds those in debt, and a few more."""
    allowances = Allowances(RATE, clock)
    for n in range(1_000):
        allowances.take(f"caller {n}")
        clock.now += RATE.interval
    assert len(allowances) <= 3


def test_the_table_is_bounded_and_who_was_seen_longest_ago_goes_first(clock: VirtualClock) -> None:
    allowances = Allowances(RATE, clock, most=10)
    taken(allowances, RATE.burst, "first")
    taken(allowances, RATE.burst, "second")
    for n in range(7):
        allowances.take(f"{n}")
    assert not allowances.look("first").granted
    clock.now += RATE.interval
    assert allowances.take("first").granted, "is now the one seen last"
    for n in range(2):
        taken(allowances, 5, f"more {n}")
    assert len(allowances) <= 10
    assert not allowances.look("first").granted
    assert allowances.look("second").remaining == RATE.burst, "was forgotten"


@given(
    pauses=st.lists(st.floats(0, 3), min_size=1, max_size=200),
    per_second=st.floats(0.1, 1_000),
    burst=st.integers(1, 50),
)
def test_no_window_has_more_than_its_share(pauses: list[float], per_second: float, burst: int) -> None:
    """Whatever the pattern: between any two requests that passed there are at most burst + rate * time."""
    clock = VirtualClock(START)
    allowances = Allowances(Rate(per_second, burst), clock)
    passed: list[float] = []
    for pause in pauses:
        clock.now += pause
        if allowances.take("a").granted:
            passed.append(clock.now)
    for first, start in enumerate(passed):
        for last, end in enumerate(passed[first:], first):
            assert last - first + 1 <= burst + per_second * (end - start) + 0.01


@pytest.mark.parametrize(
    ("remote", "stands_for"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        (None, ""),
    ],
)
def test_an_address_stands_for_all_that_its_owner_may_choose(remote: str | None, stands_for: str) -> None:
    assert address_of(remote) == stands_for
