"""Ids by rank, and the order in which they are taken."""

from __future__ import annotations

import random
from collections import Counter
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manager_agent.registry.instances import Rank
from manager_agent.registry.ranking import Ranking, best_first

pytestmark = pytest.mark.unit

RANKS: list[Rank] = [(lacked, (load, 0.0)) for lacked in (False, True) for load in (0.0, 0.5, 1.0)]
PUTS = st.lists(
    st.tuples(st.sampled_from([0, 1]), st.sampled_from("abcdefgh"), st.sampled_from([None, *RANKS])), max_size=60
)


@settings(max_examples=150, derandomize=True)
@given(puts=PUTS, seed=st.integers(0, 9))
def test_ids_of_several_rankings_come_in_the_order_of_their_ranks(
    puts: list[tuple[int, str, Rank | None]], seed: int
) -> None:
    """Each has the rank that it was given last, in each ranking."""
    rankings, ranks = (Ranking(), Ranking()), dict[tuple[int, str], Rank]()
    for which, name, rank in puts:
        rankings[which].put(f"{name}{which}", rank)
        ranks.pop((which, name), None)
        if rank is not None:
            ranks[which, name] = rank
    taken = list(best_first(rankings, random.Random(seed)))
    assert sorted(taken) == sorted(f"{name}{which}" for which, name in ranks)
    assert [ranks[int(one[1]), one[0]] for one in taken] == sorted(ranks.values())


def test_ids_of_equal_rank_come_in_any_order_equally_often() -> None:
    """Also those of different rankings, and if one more would follow."""
    one, other, chance = Ranking(), Ranking(), random.Random(0)
    for ranking, service_id in ((one, "a"), (one, "b"), (other, "c")):
        ranking.put(service_id, RANKS[0])
    other.put("d", RANKS[1])
    orders = Counter("".join(best_first((one, other), chance)) for _ in range(6_000))
    assert set(orders) == {"".join(order) + "d" for order in permutations("abc")}
    assert all(850 < count < 1_150 for count in orders.values())
