"""Logs: one JSON line an event, whoever logs it, and every sink gets it."""

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
from http_api.logs import Entry
from http_api.logs.redaction import REDACTED

pytestmark = pytest.mark.unit

SECRET = "the+secret/of=this"
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


@pytest.mark.parametrize("dev", [True, False])
def test_every_sink_gets_each_entry_with_nothing_secret_in_it(stream: io.StringIO, dev: bool) -> None:
    """Whatever the stream shows."""
    entries: list[Entry] = []
    logs.configure(dev=dev, level="info", secrets=[SECRET], stream=stream, sinks=[entries.append] * 2)
    structlog.get_logger("a").info("ours", token=TOKEN, session_id="ses_1")
    first, second = entries
    assert first is second
    assert first.fields["token"] == REDACTED
    assert json.loads(first.line) == first.fields
    assert (first.line == stream.getvalue().rstrip()) is not dev
