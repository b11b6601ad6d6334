"""How sessions are spread over replicas that decide at once and don't talk to each other."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from manager_agent.replicas.balance import SETTLED, TOLERANCE, is_settled, spread
from manager_agent.replicas.lease import ReplicaInfo, Roll
from manager_agent.session import events as ev
from tests.unit import sessions as given
from tests.unit.sessions import START

MOST = 4


def roll_of(live: dict[str, int], draining: frozenset[str] = frozenset()) -> Roll:
    return Roll({one: ReplicaInfo(one, is_draining=one in draining) for one in live})


def round_of(live: dict[str, int], draining: frozenset[str] = frozenset(), most: int = MOST) -> int:
    """Let every replica decide about the same counts, and hand over. Returns how many sessions moved."""
    roll, before, moved = roll_of(live, draining), dict(live), 0
    for giver in before:
        transfer = spread(giver, before, roll, most)
        for target in transfer.targets:
            assert target not in draining
            live[giver] -= 1
            live[target] += 1
            moved += 1
    assert all(count >= 0 for count in live.values())
    return moved


def settle(live: dict[str, int], draining: frozenset[str] = frozenset(), most: int = MOST) -> int:
    """Rounds until no session moves any more."""
    for rounds in range(1000):
        if round_of(live, draining, most) == 0:
            return rounds
    raise AssertionError(f"sessions go back and forth: {live}")


def test_a_replica_that_joins_gets_its_share() -> None:
    live = {"a": 30, "b": 30, "c": 0}
    settle(live)
    assert live["c"] >= 16
    assert max(live.values()) <= 20 * (1 + TOLERANCE)


def test_no_more_is_handed_over_at_a_time_than_told() -> None:
    live = {"a": 100, "b": 0}
    assert round_of(live, most=4) == 4
    assert spread("a", live, roll_of(live), 0).counts == {}


def test_a_replica_whose_managers_can_not_join_yet_gets_nothing() -> None:
    live = {"a": 30, "b": 10, "c": 0}
    roll = Roll({one: ReplicaInfo(one, can_take=one != "c") for one in live})
    assert set(spread("a", live, roll, 100).targets) == {"b"}
    assert spread("a", live, Roll({one: ReplicaInfo(one, can_take=one == "a") for one in live}), 100).counts == {}


def test_a_small_difference_is_left_alone() -> None:
    for live in ({"a": 1, "b": 0}, {"a": 2, "b": 1}, {"a": 12, "b": 10}, {"a": 5, "b": 5, "c": 4}):
        assert round_of(live) == 0


def test_a_replica_alone_hands_nothing_over_even_if_it_drains() -> None:
    assert round_of({"a": 10}) == 0
    assert round_of({"a": 10}, frozenset({"a"})) == 0


def test_one_that_drains_hands_everything_over() -> None:
    live = {"a": 11, "b": 7, "c": 3}
    settle(live, frozenset({"a"}))
    assert live["a"] == 0
    assert live["b"] + live["c"] == 21


def test_a_replica_that_is_not_known_to_be_alive_hands_nothing_over() -> None:
    assert spread("x", {"x": 10, "a": 0}, roll_of({"a": 0}), MOST).counts == {}


@pytest.mark.parametrize("seed", range(300))
def test_every_start_comes_to_rest_near_the_mean(seed: int) -> None:
    """However many replicas and sessions there are, and whichever drain."""
    chance = random.Random(seed)
    ids = [f"r{number}" for number in range(chance.randint(1, 12))]
    live = {one: chance.choice([0, 0, 1, 3, 40, 200]) for one in ids}
    draining = frozenset(one for one in ids if chance.random() < 0.2)
    staying = [one for one in ids if one not in draining]
    total = sum(live.values())
    settle(live, draining)
    assert sum(live.values()) == total
    if staying:
        assert all(live[one] == 0 for one in draining)
        mean = -(-total // len(staying))
        assert all(live[one] <= mean * (1 + TOLERANCE) for one in staying)


@pytest.mark.parametrize("seed", range(100))
def test_no_replica_gets_more_than_it_should_have_in_one_round(seed: int) -> None:
    chance = random.Random(seed)
    live = {f"r{number}": chance.choice([0, 50, 60, 200]) for number in range(chance.randint(2, 30))}
    mean = -(-sum(live.values()) // len(live))
    before = dict(live)
    round_of(live, most=1000)
    for one, count in live.items():
        assert count <= max(before[one], mean)


def test_the_emptiest_replicas_get_the_most() -> None:
    live = {"a": 30, "b": 9, "c": 0}
    counts = Counter(spread("a", live, roll_of(live), 10).targets)
    assert counts == {"c": 9, "b": 1}


# --- which sessions ---------------------------------------------------------------------------------

_managed = given.after(given.a_session(given.JOINS), *given.managed(START))
_settled = given.after(_managed, *given.invited(0), *given.accepted(0))


def test_a_session_is_handed_over_once_its_manager_has_been_there_for_a_while() -> None:
    assert not is_settled(_settled, START + SETTLED - 0.1)
    assert is_settled(_settled, START + SETTLED)


@pytest.mark.parametrize(
    "session",
    [
        given.a_session(given.JOINS),
        given.after(given.a_session(given.JOINS), *given.created()),
        given.after(_managed, *given.invited(0)),
        given.after(_settled, *given.room_requested_again(START + 1)),
        given.after(_settled, given.left(given.MANAGER, "PA_manager", START + 1)),
        given.after(_settled, ev.ManagerFailed(START + 1, given.MANAGER)),
        given.after(_settled, ev.SessionClosed(START + 1)),
        given.after(_settled, ev.SessionClosed(START + 1), ev.CleanUpStarted(START + 1)),
    ],
)
def test_a_session_for_which_something_is_under_way_is_not_handed_over(session: object) -> None:
    assert not is_settled(session, START + 100)  # type: ignore[arg-type]


def test_a_session_that_is_cleaned_up_may_go_at_any_time() -> None:
    over = given.after(_settled, ev.SessionClosed(START + 1), ev.CleanUpStarted(START + 1), ev.CleanedUp(START + 1))
    assert is_settled(over, START + 1)
