"""What native code writes to stderr becomes log entries; what Python writes there does not."""

from __future__ import annotations

import json
import logging
import shlex
import signal
import subprocess
import sys
from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

import pytest

from http_api.observability.logs import native
from http_api.observability.logs.native import ALIKE_INTERVAL, ALIKE_MAX, take
from scripts.repository import ROOT

pytestmark = pytest.mark.unit

PRELUDE = """
import ctypes, os, sys
from http_api.observability import logs
from http_api.observability.logs import native
libc = ctypes.CDLL(None)
def write(text): libc.dprintf(2, b"%s", text.encode())
def log_to(stream): logs.configure(dev=False, level="info", secrets=["hush hush"], stream=stream)
"""


def run(program: str, *, code: int = 0, **env: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The log entries that the program writes to stderr, and its other lines."""
    done = subprocess.run([sys.executable, "-c", PRELUDE + program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    lines = done.stderr.splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")], [ln for ln in lines if ln[:1] != "{"]


def test_lines_of_the_native_sdk_are_logged_with_their_own_level() -> None:
    entries, others = run("""
log_to(native.capture())
write('[2026-01-31T12:00:00Z ERROR livekit::rtc_engine] closed: hush hush\\n')
write('[2026-01-31T12:00:00Z DEBUG livekit::room] of no interest\\n')
write('thread panicked at src/lib.rs\\n')
""")
    said = [(entry["logger"], entry["level"], entry["event"]) for entry in entries]
    assert said == [
        ("livekit.native", "error", "closed: [redacted]"),
        ("native", "warning", "thread panicked at src/lib.rs"),
    ]
    assert entries[0]["target"] == "livekit::rtc_engine"
    assert others == []


def test_python_stderr_goes_where_it_went_before() -> None:
    """An unfinished native line is not lost."""
    entries, others = run("""
log_to(native.capture())
print("by Python", file=sys.stderr)
write("no end")
""")
    assert [entry["event"] for entry in entries] == ["no end"]
    assert others == ["by Python"]


def test_native_lines_are_logged_until_the_sdk_ends_its_threads() -> None:
    """At exit, by a handler that the SDK registers after the capture began."""
    entries, others = run("""
import atexit
log_to(native.capture())
atexit.register(write, "[2026-01-31T12:00:00Z WARN  livekit::rtc_engine] peer connection is closed\\n")
""")
    assert [(entry["logger"], entry["event"]) for entry in entries] == [("livekit.native", "peer connection is closed")]
    assert others == []


def test_an_endless_native_line_is_logged_in_pieces() -> None:
    entries, _ = run("""
log_to(native.capture())
write("x" * 300_000)
""")
    assert len(entries) > 1


def test_a_crashing_process_writes_its_stack_to_the_real_stderr() -> None:
    """By then the pipe has no reader."""
    _, others = run(
        """
log_to(native.capture())
ctypes.string_at(0)
""",
        code=-signal.SIGSEGV,
    )
    assert "Fatal Python error: Segmentation fault" in others


def test_native_lines_are_logged_as_json_in_every_locale() -> None:
    entries, _ = run(
        """
log_to(native.capture())
import structlog
structlog.get_logger("x").info("ünï", smile=chr(0x1F600))
""",
        LC_ALL="C",
        PYTHONUTF8="0",
        PYTHONCOERCECLOCALE="0",
    )
    assert (entries[0]["event"], entries[0]["smile"]) == ("ünï", chr(0x1F600))


def test_native_log_capture_does_nothing_without_a_stderr() -> None:
    program = "log_to(native.capture())\nprint('runs')"
    command = shlex.join([sys.executable, "-c", PRELUDE + program]) + " 2>&-"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert (done.returncode, done.stdout) == (0, "runs\n")


@pytest.mark.parametrize("line", ["", "   "])
def test_blank_native_lines_are_not_logged(line: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        take(line)
    assert caplog.records == []


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time that take() sees; no line was logged before."""
    clock = SimpleNamespace(now=1_000.0)
    monkeypatch.setattr(native, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(native, "_logged", OrderedDict())
    return clock


def sdk_line(message: str, level: str = "ERROR") -> str:
    return f"[2026-01-31T12:00:00Z {level} livekit_rpc::client] {message}"


def test_sdk_errors_that_any_participant_can_cause_are_logged_once_a_minute(
    clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        for number in range(500):
            take(sdk_line(f"Ack received for unexpected RPC request: {number}"))
        take(sdk_line("Failed to publish RPC ACK: closed"))
        clock.now += ALIKE_INTERVAL
        take(sdk_line("Ack received for unexpected RPC request: 500"))
    assert [(record.message, vars(record).get("alike")) for record in caplog.records] == [
        ("Ack received for unexpected RPC request: 0", None),
        ("Failed to publish RPC ACK: closed", None),
        ("Ack received for unexpected RPC request: 500", 499),
    ]


def test_sdk_lines_that_an_operator_asked_for_by_rust_log_are_all_logged(
    clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        for _ in range(3):
            take(sdk_line("left: the room", "INFO"))
    assert len(caplog.records) == 3


def test_only_so_many_kinds_of_sdk_lines_are_remembered(clock: SimpleNamespace) -> None:
    for number in range(ALIKE_MAX + 50):
        take(sdk_line(f"kind {number}"))
    assert len(native._logged) == ALIKE_MAX
