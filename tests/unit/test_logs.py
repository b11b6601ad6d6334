"""Logs: one JSON line an event, whoever logs it, and no token or secret in any of them."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from livekit import api

from http_api import logs
from http_api.api_keys import new_key
from http_api.logs import REDACTED, redactor

pytestmark = pytest.mark.unit

SECRET = "the+secret/of=this"
API_KEY = new_key()
TOKEN = api.AccessToken("key", "x" * 32).with_identity("alice").to_jwt()


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Leaves logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    logging.captureWarnings(False)
    structlog.reset_defaults()


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


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
def test_tokens_and_secrets_are_nowhere_in_an_event(value: object) -> None:
    text = json.dumps(redacted(event="x", value=value))
    assert TOKEN not in text
    assert TOKEN.rpartition(".")[2] not in text
    assert SECRET not in text
    assert API_KEY[:30] not in text
    assert REDACTED in text


def test_what_only_looks_a_little_like_one_stays() -> None:
    event = {"event": "secretary", "path": "/a.b.c", "who": "sm_asr, spasm_asr", "none": None, "ok": True, "f": 0.5}
    assert redacted(**event) == event


def test_events_are_always_json() -> None:
    strange = {"nan": float("nan"), "half": "\ud800", "set": {1}, "self": object()}
    cycle: dict[str, Any] = {}
    cycle["cycle"] = cycle
    text = json.dumps(redacted(**strange, cycle=cycle), allow_nan=False)
    assert text.encode()


def test_everybody_logs_json_lines_with_what_is_bound(stream: io.StringIO) -> None:
    logs.configure(dev=False, level="info", secrets=[SECRET], stream=stream)
    with structlog.contextvars.bound_contextvars(session_id="ses_1"):
        structlog.get_logger("a").info("ours", token=TOKEN)
        logging.getLogger("b").warning("theirs %s", TOKEN, extra={"room": "demo"})
        logging.getLogger("b").debug("not this")
    ours, theirs = lines(stream)
    assert (ours["event"], ours["token"], ours["session_id"], ours["level"]) == ("ours", REDACTED, "ses_1", "info")
    assert (theirs["event"], theirs["room"], theirs["session_id"]) == (f"theirs {REDACTED}", "demo", "ses_1")


@pytest.mark.parametrize("dev", [True, False])
def test_tracebacks_are_redacted_too(stream: io.StringIO, dev: bool) -> None:
    logs.configure(dev=dev, level="info", secrets=[SECRET], stream=stream)
    try:
        raise ValueError(f"bad token {TOKEN}")
    except ValueError:
        structlog.get_logger().exception("failed")
        logging.getLogger("x").exception("failed")
    assert stream.getvalue().count("ValueError") >= 2
    assert TOKEN not in stream.getvalue()


def test_warnings_are_logged(stream: io.StringIO) -> None:
    logs.configure(dev=False, level="info", secrets=[], stream=stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert "old" in lines(stream)[0]["event"]
