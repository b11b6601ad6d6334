"""Which offer each requirement gets when there are not enough for all to have their best one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manager_agent.registry.matching import assign, by_importance
from manager_agent.session.required_service import Requirement

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("offers", "assigned"),
    [
        ([], []),
        ([[]], [None]),
        ([["a", "b"], ["a", "b"]], ["a", "b"]),
        # a later one needs what an earlier one has taken, which can move
        ([["a", "b"], ["a"]], ["b", "a"]),
        ([["a", "b"], ["b", "c"], ["a"]], ["b", "c", "a"]),
        ([["a", "b", "c"], ["a", "b"], ["a"]], ["c", "b", "a"]),
        # or can't: it keeps what it has
        ([["a"], ["a"]], ["a", None]),
        ([["a", "b"], ["a"], ["b"]], ["b", "a", None]),
        ([["a"], ["a"], ["b"]], ["a", None, "b"]),
    ],
)
def test_as_many_requirements_as_can_be_met_are_met(offers: list[list[str]], assigned: list[str | None]) -> None:
    assert assign(offers, range(len(offers))) == assigned


@settings(max_examples=300, derandomize=True)
@given(offers=st.lists(st.permutations("abcdef").flatmap(lambda all_: st.integers(0, 6).map(lambda n: all_[:n]))))
def test_as_many_offers_as_there_are_requirements_decide(offers: list[list[str]]) -> None:
    """Whatever else each could have."""
    best = [offered[: len(offers)] for offered in offers]
    assert assign(best, range(len(offers))) == assign(offers, range(len(offers)))


def test_the_order_decides_who_gets_the_last_one() -> None:
    assert assign([["a"], ["a"]], [1, 0]) == [None, "a"]


def test_mandatory_requirements_and_those_for_one_service_come_first() -> None:
    requirements = [
        Requirement(type="ASR", optional=True),
        Requirement(service_id="bot", optional=True),
        Requirement(type="ASR"),
        Requirement(service_id="asr"),
    ]
    assert by_importance(requirements) == [3, 2, 1, 0]
