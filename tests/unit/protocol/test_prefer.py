"""The Prefer header: what RFC 7240 allows, and what clients get wrong."""

from __future__ import annotations

import pytest

from http_api.protocol.prefer import WAIT_MAX, Preferences, preferences

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], Preferences()),
        (["respond-async"], Preferences(respond_async=True)),
        (["wait=5"], Preferences(wait=5)),
        (["wait=0"], Preferences(wait=0)),
        (["respond-async, wait=10"], Preferences(wait=10, respond_async=True)),
        (["respond-async", "wait=10"], Preferences(wait=10, respond_async=True)),
        (["WAIT = 7 ; strict=1"], Preferences(wait=7)),
        (['wait="8"'], Preferences(wait=8)),
        (['respond-async=""'], Preferences(respond_async=True)),
        (["wait=61"], Preferences(wait=WAIT_MAX)),
        (["wait=0007"], Preferences(wait=7)),
        ([f"wait={'9' * 5000}"], Preferences(wait=WAIT_MAX)),
        (["wait=3, wait=9"], Preferences(wait=3)),
        (["wait=soon, wait=9"], Preferences()),
        (["wait=-1"], Preferences()),
        (["wait=1.5"], Preferences()),
        (["wait=٣"], Preferences()),
        (["wait"], Preferences()),
        (["respond-async=maybe"], Preferences()),
        (['return=minimal, foo="a,wait=1,b", wait=4'], Preferences(wait=4)),
        (["=;,, ,wait=4"], Preferences(wait=4)),
        (['foo="never closed, wait=4'], Preferences()),
        (['wait=5, foo="never closed'], Preferences(wait=5)),
        (['foo="a\\", wait=1, \\"b", wait=4'], Preferences(wait=4)),
        (['wait="\\8"'], Preferences(wait=8)),
        (["wait =\t7"], Preferences(wait=7)),
        (["wait= "], Preferences()),
        (['respond-async; foo="a;b"'], Preferences(respond_async=True)),
        (["respond-async ="], Preferences()),
        (["wait=5 6"], Preferences()),
        (["wait\u00a0=5"], Preferences()),
    ],
)
def test_prefer_headers_are_read_as_preferences(headers: list[str], expected: Preferences) -> None:
    assert preferences(headers) == expected


@pytest.mark.parametrize(
    "header", ['"\\' * 4_000, "wait" + " " * 8_000 + "x", "wait=" + " " * 8_000 + "x", '"' * 8_000, "," * 8_000]
)
def test_a_prefer_header_made_to_be_slow_is_read_fast(header: str) -> None:
    """As long as aiohttp allows. Backtracking would run into the timeout of the test."""
    for _ in range(500):
        assert preferences([header]) == Preferences()


@pytest.mark.parametrize(
    ("preferred", "max_wait"),
    [
        (Preferences(), None),
        (Preferences(respond_async=True), 0),
        (Preferences(wait=5), 5),
        (Preferences(wait=5, respond_async=True), 5),
    ],
)
def test_prefer_wait_bounds_the_wait_of_a_request(preferred: Preferences, max_wait: float | None) -> None:
    assert preferred.max_wait == max_wait


@pytest.mark.parametrize(
    ("preferred", "asynchronously", "applied"),
    [
        (Preferences(), True, {}),
        (Preferences(), False, {}),
        (Preferences(respond_async=True), True, {"Preference-Applied": "respond-async"}),
        (Preferences(respond_async=True), False, {}),
        (Preferences(wait=5), True, {"Preference-Applied": "wait=5"}),
        (Preferences(wait=5), False, {"Preference-Applied": "wait=5"}),
        (Preferences(wait=5, respond_async=True), True, {"Preference-Applied": "respond-async, wait=5"}),
        (Preferences(wait=5, respond_async=True), False, {"Preference-Applied": "wait=5"}),
    ],
)
def test_preference_applied_names_only_what_was_applied(
    preferred: Preferences, asynchronously: bool, applied: dict[str, str]
) -> None:
    """An answer that has the result was not given asynchronously."""
    assert preferred.applied(asynchronously=asynchronously) == applied
