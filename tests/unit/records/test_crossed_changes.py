"""Of the changes of this replica those are told to it that crossed another replica's."""

from __future__ import annotations

import pytest

from manager_agent.records import crossed_changes
from manager_agent.records.crossed_changes import CrossedChanges
from manager_agent.records.pending_changes import Place, RecordChange
from manager_agent.records.records import Kind, Record

pytestmark = pytest.mark.unit

PLACE, OTHER_PLACE = (Kind.ANSWER, "k"), (Kind.ANSWER, "other")
FIRST, SECOND = Record(*PLACE, b"1"), Record(*PLACE, b"2")


class OwnChanges:
    """Those of one replica that are under way."""

    def __init__(self) -> None:
        self.under_way: dict[Place, RecordChange] = {}
        self.crossed = CrossedChanges(self.under_way.get)

    def make(self, place: Place, record: Record | None) -> None:
        self.under_way[place] = RecordChange(*place, record)


@pytest.fixture
def own() -> OwnChanges:
    return OwnChanges()


def test_a_change_that_crossed_another_is_told_once(own: OwnChanges) -> None:
    own.make(PLACE, FIRST)
    own.crossed.told(PLACE)
    assert not own.crossed.shown(OTHER_PLACE, FIRST)
    assert own.crossed.shown(PLACE, FIRST)
    assert not own.crossed.shown(PLACE, FIRST)


def test_a_change_that_was_made_after_the_other_was_told_is_known(own: OwnChanges) -> None:
    own.crossed.told(PLACE)
    own.make(PLACE, FIRST)
    assert not own.crossed.shown(PLACE, FIRST)


@pytest.mark.parametrize("last", [SECOND, None])
def test_of_several_changes_that_crossed_another_the_last_is_told(own: OwnChanges, last: Record | None) -> None:
    own.make(PLACE, FIRST)
    own.crossed.told(PLACE)
    own.make(PLACE, last)
    assert not own.crossed.shown(PLACE, FIRST)
    own.under_way.clear()  # it is shown
    assert own.crossed.shown(PLACE, last)


def test_the_oldest_that_are_never_shown_are_forgotten(own: OwnChanges, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crossed_changes, "CROSSED_MAX", 1)
    for place in (PLACE, OTHER_PLACE):
        own.make(place, FIRST)
        own.crossed.told(place)
    assert not own.crossed.shown(PLACE, FIRST)
    assert own.crossed.shown(OTHER_PLACE, FIRST)
