"""Redaction: log entries hold no token and no secret, and are plain JSON of bounded size."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livekit import api

from http_api.observability.logs.redaction import INT_MAX, ITEMS_MAX, REDACTED, TEXT_MAX, redactor

pytestmark = pytest.mark.unit

SECRET = "the+secret/of=this"
API_KEY = f"sm_{string.ascii_letters[:43]}"  # not a new one: the names of the tests have it
TOKEN = api.AccessToken("key", "x" * 32).with_identity("alice").to_jwt()


def redacted(**event: Any) -> Any:
    return redactor([SECRET, "secret"])(None, "info", event)


@pytest.mark.parametrize(
    "value",
    [
        TOKEN,
        f"Bearer {TOKEN}, and more",
        {"deep": [{"down": (TOKEN,)}]},
        {TOKEN: 1},
        ValueError(f"bad: {TOKEN}"),
        f"wss://host/rtc?access_token={TOKEN}&x=1",
        TOKEN.encode(),
        f"key {SECRET}!",
        {"secret": "secret"},
        [[[[[[[[[[[TOKEN]]]]]]]]]]],
        API_KEY,
        f"Bearer {API_KEY}, and more",
        {"headers": [f"Authorization={API_KEY}"], API_KEY: ValueError(API_KEY)},
        f"{API_KEY[:30]} was cut off",
    ],
)
def test_redaction_removes_tokens_and_secrets_everywhere_in_an_event(value: object) -> None:
    text = json.dumps(redacted(event="x", value=value))
    assert TOKEN not in text
    assert TOKEN.rpartition(".")[2] not in text
    assert SECRET not in text
    assert API_KEY[:30] not in text
    assert REDACTED in text


def test_redaction_keeps_text_that_only_resembles_a_token() -> None:
    event = {"event": "secretary", "path": "/a.b.c", "who": "sm_asr, spasm_asr", "none": None, "ok": True, "f": 0.5}
    assert redacted(**event) == event


def test_redacted_events_are_always_json() -> None:
    strange = {"nan": float("nan"), "half": "\ud800", "set": {1}, "self": object()}
    cycle: dict[str, Any] = {}
    cycle["cycle"] = cycle
    text = json.dumps(redacted(**strange, cycle=cycle), allow_nan=False)
    assert text.encode()


def test_redaction_cuts_large_values_and_marks_the_cut() -> None:
    """Of a text the beginning and the end stay: the last lines of a traceback say most."""
    event = redacted(text="a" + "x" * TEXT_MAX + "z", items=list(range(ITEMS_MAX + 5)), many=dict.fromkeys(range(999)))
    assert len(event["text"]) < TEXT_MAX + 50
    assert (event["text"][0], event["text"][-1]) == ("a", "z")
    assert "[... 2 characters ...]" in event["text"]
    assert (len(event["items"]), len(event["many"])) == (ITEMS_MAX, ITEMS_MAX)


def test_integers_beyond_64_bits_are_logged_as_text() -> None:
    assert redacted(small=INT_MAX, large=INT_MAX + 1) == {"small": INT_MAX, "large": str(INT_MAX + 1)}


def test_redaction_of_a_long_text_leaves_no_secret_at_the_cut() -> None:
    """Wherever the cut falls."""
    for ref in (0, TEXT_MAX // 2 - 20, TEXT_MAX, 3 * TEXT_MAX - 20):
        text = "x " * (3 * TEXT_MAX // 2)
        text = text[:ref] + f" {TOKEN} {API_KEY} {SECRET} " + text[ref:]
        shown = redacted(text=text)["text"]
        assert TOKEN.rpartition(".")[2] not in shown
        assert API_KEY[:30] not in shown
        assert SECRET not in shown


def test_redaction_names_a_value_whose_repr_raises() -> None:
    class RaisesOnRepr:
        def __repr__(self) -> str:
            raise RuntimeError(SECRET)

    assert redacted(value=RaisesOnRepr()) == {"value": "<a RaisesOnRepr that can't be shown: RuntimeError>"}


PIECES = (TOKEN, API_KEY, SECRET, "secret", "secretary", "eyJ", "sm_", "a", " ", "\n", "é", "\ud800", "x" * 9_000)
VALUES = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=4).map("".join),
    *(st.none(), st.booleans(), st.integers(), st.floats()),
)


@given(st.dictionaries(st.sampled_from("abc"), VALUES))
def test_an_event_is_redacted_as_each_of_its_values_would_be_in_a_list(event: dict[str, Any]) -> None:
    """Values in a list are looked at one by one; an event of plain values as a whole."""
    assert redacted(**event) == {key: redacted(value=[value])["value"][0] for key, value in event.items()}
