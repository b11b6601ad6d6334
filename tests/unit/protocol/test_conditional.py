"""Conditional requests: which versions of a session If-None-Match names."""

from __future__ import annotations

import pytest

from http_api.protocol.conditional import KnownTags, entity_tag, known_tags

pytestmark = pytest.mark.unit


def test_the_tag_of_a_session_is_its_revision_and_weak() -> None:
    assert entity_tag(7) == 'W/"7"'


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], None),
        ([""], None),
        (['W/"7"'], {"7"}),
        (['"7"'], {"7"}),
        (['W/"7", "8" ,W/"9"'], {"7", "8", "9"}),
        (['W/"7"', '"8"'], {"7", "8"}),
        ([', ,W/"7",,'], {"7"}),
        (['"a,b"'], {"a,b"}),
        (['""'], {""}),
        (['"\u00e9"'], {"\u00e9"}),
        (["7"], None),
        (['w/"7"'], None),
        (['W/ "7"'], None),
        (['"7'], None),
        (['"7" "8"'], None),
        (['"7", 8'], None),
        (['"7 8"'], None),
        (['*, "7"'], None),
        (["*", "*"], None),
        (["'7'"], None),
    ],
)
def test_which_tags_are_named(headers: list[str], expected: set[str] | None) -> None:
    """None where there is none, or the header can't be read: then the request is as if it had none."""
    assert known_tags(headers) == (None if expected is None else KnownTags(frozenset(expected)))


@pytest.mark.parametrize("header", ["*", " *\t"])
def test_a_star_matches_every_revision(header: str) -> None:
    known = known_tags([header])
    assert known is not None
    assert known.match(1)


@pytest.mark.parametrize("header", ['W/"7"', '"7"', '"6", W/"7"'])
def test_a_tag_matches_its_revision_whether_it_is_weak_or_strong(header: str) -> None:
    known = known_tags([header])
    assert known is not None
    assert (known.match(7), known.match(8), known.match(77)) == (True, False, False)


@pytest.mark.parametrize("header", ['"' * 8_000, '"7",' * 2_000 + "x", " ," * 4_000 + "x", '"7"' + " " * 8_000 + "x"])
def test_a_header_that_is_made_to_be_slow_is_not(header: str) -> None:
    """Of the greatest length that aiohttp reads. If it were read in more ways than one, the test's timeout would end
    this."""
    for _ in range(500):
        assert known_tags([header]) is None
