"""What a session is made of costs the garbage collector nothing, however many there are."""

from __future__ import annotations

import gc

import pytest

from manager_agent.frozen import Frozen, field, replace
from tests.unit import sessions as given

pytestmark = pytest.mark.unit


class Stone(Frozen):
    weight: int
    marks: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)


def test_frozen_value_can_not_be_changed_but_replaced() -> None:
    stone = Stone(1)
    with pytest.raises(AttributeError):
        stone.weight = 2  # type: ignore[misc]
    assert replace(stone, weight=2) == Stone(2)
    assert stone == Stone(1)
    with pytest.raises(TypeError):
        replace(stone, height=2)  # type: ignore[call-arg]


def test_values_without_mappings_can_be_in_sets() -> None:
    assert len({given.START, given.a_session().room, given.a_session().room}) == 2
    with pytest.raises(TypeError):
        hash(Stone(1))


def test_garbage_collections_do_not_look_at_a_session() -> None:
    session = given.after(given.a_session(given.JOINS, given.AGENT), *given.managed(), *given.invited(given.ASR))
    gc.collect()
    assert not gc.is_tracked(session)
    assert not gc.is_tracked(session.services)
