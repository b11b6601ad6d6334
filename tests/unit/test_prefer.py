"""The Prefer header: what RFC 7240 lets a caller say, and what he may get wrong."""

from __future__ import annotations

import pytest

from http_api.prefer import WAIT_MAX, Preferences, preferences

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
        (['foo="never closed, wait=4'], Preferences(wait=4)),
    ],
)
def test_what_the_headers_ask_for(headers: list[str], expected: Preferences) -> None:
    assert preferences(headers) == expected


@pytest.mark.parametrize(
    ("preferred", "patience", "applied"),
    [
        (Preferences(), None, None),
        (Preferences(respond_async=True), 0, "respond-async"),
        (Preferences(wait=5), 5, "wait=5"),
        (Preferences(wait=5, respond_async=True), 5, "respond-async, wait=5"),
    ],
)
def test_how_long_it_is_waited_and_what_is_said_of_it(
    preferred: Preferences, patience: float | None, applied: str | None
) -> None:
    assert (preferred.patience, preferred.applied) == (patience, applied)
