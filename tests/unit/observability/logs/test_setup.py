"""Logs: one JSON line for each event, whichever logger it comes from, delivered to every sink."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import stamina
import structlog
from livekit import api

from http_api.observability import logs
from http_api.observability.logs import LogEntry, unhandled
from http_api.observability.logs.redaction import REDACTED

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
    stamina.instrumentation.set_on_retry_hooks(None)


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_every_logger_writes_json_lines_with_the_bound_context(stream: io.StringIO) -> None:
    logs.configure(dev=False, level="info", secrets=[SECRET], stream=stream)
    with structlog.contextvars.bound_contextvars(session_id="ses_1"):
        structlog.get_logger("a").info("ours", token=TOKEN)
        logging.getLogger("b").warning("theirs %s", TOKEN, extra={"room": "demo"})
        logging.getLogger("b").debug("not this")
    ours, theirs = lines(stream)
    assert (ours["event"], ours["token"], ours["session_id"], ours["level"]) == ("ours", REDACTED, "ses_1", "info")
    assert (theirs["event"], theirs["room"], theirs["session_id"]) == (f"theirs {REDACTED}", "demo", "ses_1")


def test_retries_are_not_logged_by_the_library_that_makes_them(stream: io.StringIO) -> None:
    logs.configure(dev=False, level="debug", secrets=[], stream=stream)
    for attempt in stamina.retry_context(on=ZeroDivisionError, attempts=2, wait_initial=0, wait_jitter=0):
        with attempt:
            1 / (attempt.num - 1)
    assert lines(stream) == []


@pytest.mark.parametrize("dev", [True, False])
def test_tracebacks_are_redacted(stream: io.StringIO, dev: bool) -> None:
    logs.configure(dev=dev, level="info", secrets=[SECRET], stream=stream)
    try:
        raise ValueError(f"bad token {TOKEN}")
    except ValueError:
        structlog.get_logger().exception("failed")
        logging.getLogger("x").exception("failed")
    assert stream.getvalue().count("ValueError") >= 2
    assert TOKEN not in stream.getvalue()


def test_python_warnings_are_logged(stream: io.StringIO) -> None:
    logs.configure(dev=False, level="info", secrets=[], stream=stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert "old" in lines(stream)[0]["event"]


@pytest.mark.parametrize("dev", [True, False])
def test_every_sink_gets_each_entry_redacted(stream: io.StringIO, dev: bool) -> None:
    """Whatever the stream shows."""
    entries: list[LogEntry] = []
    logs.configure(dev=dev, level="info", secrets=[SECRET], stream=stream, sinks=[entries.append] * 2)
    structlog.get_logger("a").info("ours", token=TOKEN, session_id="ses_1")
    first, second = entries
    assert first is second
    assert first.fields["token"] == REDACTED
    assert json.loads(first.line) == first.fields
    assert (first.line == stream.getvalue().rstrip()) is not dev


def test_sinks_and_stream_get_entries_of_two_threads_in_one_order(stream: io.StringIO) -> None:
    """The second logs while a sink takes the entry of the first: it has to wait."""
    second = threading.Thread(target=lambda: structlog.get_logger("b").info("second"))
    taken: list[str] = []

    def take(entry: LogEntry) -> None:
        taken.append(entry.fields["event"])
        if taken == ["first"]:
            second.start()
            second.join(0.1)

    logs.configure(dev=False, level="info", secrets=[], stream=stream, sinks=[take])
    structlog.get_logger("a").info("first")
    second.join()
    assert taken == [line["event"] for line in lines(stream)] == ["first", "second"]


class RaisesOnStr:
    """Its text can't be made, and the error has a secret in it."""

    def __str__(self) -> str:
        raise RuntimeError(SECRET)


def test_an_entry_that_can_not_be_written_is_replaced_by_a_note(
    stream: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(dev=False, level="info", secrets=[SECRET], stream=stream)
    logging.getLogger("theirs").warning("%d of %s", "none", SECRET)
    logging.getLogger("theirs").warning("%s", RaisesOnStr())
    said = [(line["event"], line["logger"], line["level"], line["why"]) for line in lines(stream)]
    assert said == [("log_not_written", "theirs", "error", why) for why in ("TypeError", "RuntimeError")]
    assert SECRET not in stream.getvalue() + "".join(capsys.readouterr())


def test_a_failing_sink_does_not_keep_the_entry_from_the_others(stream: io.StringIO) -> None:
    def fails(entry: LogEntry) -> None:
        raise RuntimeError

    entries: list[LogEntry] = []
    logs.configure(dev=False, level="info", secrets=[], stream=stream, sinks=[fails, entries.append])
    structlog.get_logger().info("told")
    assert [entry.fields["event"] for entry in entries] == [lines(stream)[0]["event"]] == ["told"]


def test_logging_to_a_closed_stream_raises_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    gone = io.StringIO()
    entries: list[LogEntry] = []
    logs.configure(dev=False, level="info", secrets=[], stream=gone, sinks=[entries.append])
    gone.close()
    structlog.get_logger().info("told")
    assert len(entries) == 1
    assert "".join(capsys.readouterr()) == ""


@pytest.mark.parametrize("level", ["debug", "info"])
def test_native_debug_lines_are_shown_at_log_level_debug(stream: io.StringIO, level: str) -> None:
    logs.configure(dev=False, level=level, secrets=[], stream=stream)
    logging.getLogger("livekit.native").debug("native")
    logging.getLogger("livekit.agents").debug("chatter")
    assert [line["event"] for line in lines(stream)] == (["native"] if level == "debug" else [])


def test_unhandled_errors_of_threads_and_finalizers_are_logged(stream: io.StringIO) -> None:
    """Afterwards the previous hooks are in place again."""

    class Fails:
        def __del__(self) -> None:
            raise ValueError(f"of a finalizer: {SECRET}")

    def fail() -> None:
        raise ValueError(f"of a thread: {SECRET}")

    logs.configure(dev=False, level="info", secrets=[SECRET], stream=stream)
    before = threading.excepthook, sys.unraisablehook
    with unhandled.logged():
        thread = threading.Thread(target=fail, name="worker")
        thread.start()
        thread.join()
        Fails()
    assert (threading.excepthook, sys.unraisablehook) == before
    of_thread, of_finalizer = lines(stream)
    assert {of_thread["event"], of_finalizer["event"]} == {"unhandled_error"}
    assert (of_thread["thread"], of_finalizer["of"]) == ("worker", "function")
    assert f"ValueError: of a thread: {REDACTED}" in of_thread["exception"]
    assert f"ValueError: of a finalizer: {REDACTED}" in of_finalizer["exception"]


@pytest.mark.parametrize("dev", [True, False])
def test_a_log_entry_is_one_line_that_no_terminal_obeys(stream: io.StringIO, dev: bool) -> None:
    """Rooms of others may have any name."""
    logs.configure(dev=dev, level="info", secrets=[SECRET], stream=stream)
    structlog.get_logger("a").info("found", room="a\n\x1b[2J\x9b\u202e\u2028b")
    said = stream.getvalue()
    assert len(said.splitlines()) == 1
    assert not {"\x9b", "\u202e", "\u2028"} & set(said)
    assert "\x1b[2J" not in said
    if not dev:
        assert lines(stream)[0]["room"] == "a\n\x1b[2J\x9b\u202e\u2028b"
