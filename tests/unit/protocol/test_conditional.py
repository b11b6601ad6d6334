"""Conditional requests: which versions of a session If-None-Match names."""

from __future__ import annotations

import pytest

from http_api.protocol.conditional import KnownTags, entity_tag, known_tags

pytestmark = pytest.mark.unit


def test_the_etag_of_a_session_is_weak_and_shows_its_revision() -> None:
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
def test_if_none_match_is_read_as_a_list_of_tags(headers: list[str], expected: set[str] | None) -> None:
    """None without a header or with an unreadable one: the request is then unconditional."""
    assert known_tags(headers) == (None if expected is None else KnownTags(frozenset(expected)))


@pytest.mark.parametrize("header", ["*", " *\t"])
def test_if_none_match_star_matches_every_revision(header: str) -> None:
    known = known_tags([header])
    assert known is not None
    assert known.match(1)


@pytest.mark.parametrize("header", ['W/"7"', '"7"', '"6", W/"7"'])
def test_an_etag_matches_its_revision_weak_or_strong(header: str) -> None:
    known = known_tags([header])
    assert known is not None
    assert (known.match(7), known.match(8), known.match(77)) == (True, False, False)


@pytest.mark.parametrize("header", ['"' * 8_000, '"7",' * 2_000 + "x", " ," * 4_000 + "x", '"7"' + " " * 8_000 + "x"])
def test_an_if_none_match_made_to_be_slow_is_read_fast(header: str) -> None:
    """As long as aiohttp allows. Backtracking would run into the timeout of the test."""
    for _ in range(500):
        assert known_tags([header]) is None
