"""Changes that Redis has acknowledged, until the changelog shows them."""

from __future__ import annotations

import pytest

from manager_agent.records.pending_changes import RecordChange
from manager_agent.records.records import Kind, Record
from manager_agent.records.written_changes import WrittenChanges

pytestmark = pytest.mark.unit


def change(key: str) -> RecordChange:
    return RecordChange(Kind.ANSWER, key, None)


def place(key: str) -> tuple[Kind, str]:
    return Kind.ANSWER, key


def test_changes_that_are_shown_are_not_lost() -> None:
    written = WrittenChanges()
    written.watch(["1-0", "1-1", "2-0"], map(change, "abc"), "0-0")
    assert [*written.seen("1-0", place("a")), *written.seen("1-1", place("b")), *written.seen("2-0", place("c"))] == []
    assert len(written) == 0
    assert list(written.seen("2-0", place("c"))) == [], "an entry may come again"


def test_changes_that_the_changelog_passes_over_are_lost() -> None:
    """But for those of the record that a later entry changes."""
    written = WrittenChanges()
    written.watch(["9-0", "10-0", "11-0"], map(change, "abc"), "0-0")
    assert list(written.seen("10-1", place("b"))) == [change("a")]
    assert list(written.take()) == [change("c")]


def test_changes_that_were_shown_before_they_were_acknowledged_and_those_without_an_entry_are_not_watched() -> None:
    written = WrittenChanges()
    written.watch(["9-0", "", "10-0"], map(change, "abc"), "9-0")
    assert list(written.take()) == [change("c")]


def test_the_last_change_of_a_record_is_known_until_it_is_shown() -> None:
    written, later = WrittenChanges(), RecordChange(Kind.ANSWER, "a", Record(Kind.ANSWER, "a", b"1"))
    written.watch(["1-0", "2-0", "3-0"], [change("a"), change("b"), later], "0-0")
    assert (written.of(place("a")), written.of(place("b")), written.of(place("c"))) == (later, change("b"), None)
    written.seen("2-0", place("b"))
    assert (written.of(place("a")), written.of(place("b"))) == (later, None)
    written.seen("3-0", place("a"))
    assert written.of(place("a")) is None


def test_a_redis_that_went_back_gives_earlier_ids() -> None:
    """Those that it had given are lost, once the changelog passes them."""
    written = WrittenChanges()
    written.watch(["8-0", "9-0"], map(change, "ab"), "0-0")
    written.watch(["7-0", "8-0"], map(change, "cd"), "0-0")
    assert (written.of(place("a")), written.of(place("d"))) == (None, change("d"))
    assert list(written.seen("7-0", place("c"))) == []
    assert list(written.seen("8-0", place("d"))) == []
    assert list(written.seen("10-0", place("x"))) == [change("b")]
    assert len(written) == 0


def test_only_so_many_are_watched() -> None:
    written = WrittenChanges(watched_max=2)
    written.watch(["1-0", "2-0", "3-0"], map(change, "abc"), "0-0")
    assert written.of(place("a")) is None
    assert list(written.take()) == [change("b"), change("c")]
    assert written.of(place("c")) is None
