"""Which replica takes which session over."""

from __future__ import annotations

from collections import Counter

import pytest

from manager_agent.replicas.rendezvous import chosen

SESSIONS = [f"ses_{number}" for number in range(3000)]


def test_the_order_in_which_replicas_are_known_does_not_matter() -> None:
    assert [chosen(one, ["a", "b", "c"]) for one in SESSIONS] == [chosen(one, ["c", "a", "b"]) for one in SESSIONS]


def test_sessions_are_spread_evenly() -> None:
    counts = Counter(chosen(one, ["a", "b", "c"]) for one in SESSIONS)
    assert all(900 < count < 1100 for count in counts.values())


def test_only_the_sessions_of_a_replica_that_is_gone_move() -> None:
    moved = {one for one in SESSIONS if chosen(one, ["a", "b", "c"]) != chosen(one, ["a", "b"])}
    assert moved == {one for one in SESSIONS if chosen(one, ["a", "b", "c"]) == "c"}


def test_there_must_be_a_replica() -> None:
    with pytest.raises(ValueError, match="empty"):
        chosen("s1", [])
