"""What native code writes to stderr becomes log entries; what Python writes there does not."""

from __future__ import annotations

import json
import logging
import shlex
import signal
import subprocess
import sys
from typing import Any

import pytest

from http_api.observability.logs.native import take
from scripts.livekit_server import ROOT

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
with native.captured() as stderr:
    log_to(stderr)
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
    """So does native stderr once the capture is over. An unfinished line is not lost."""
    entries, others = run("""
with native.captured() as stderr:
    log_to(stderr)
    print("by Python", file=sys.stderr)
    write("no end")
print("afterwards", file=sys.stderr)
write("afterwards\\n")
""")
    assert [entry["event"] for entry in entries] == ["no end"]
    assert others == ["by Python", "afterwards", "afterwards"]


def test_an_endless_native_line_is_logged_in_pieces() -> None:
    entries, _ = run("""
with native.captured() as stderr:
    log_to(stderr)
    write("x" * 300_000)
""")
    assert len(entries) > 1


def test_a_crashing_process_writes_its_stack_to_the_real_stderr() -> None:
    """By then the pipe has no reader."""
    _, others = run(
        """
with native.captured() as stderr:
    log_to(stderr)
    ctypes.string_at(0)
""",
        code=-signal.SIGSEGV,
    )
    assert "Fatal Python error: Segmentation fault" in others


def test_native_lines_are_logged_as_json_in_every_locale() -> None:
    entries, _ = run(
        """
with native.captured() as stderr:
    log_to(stderr)
    import structlog
    structlog.get_logger("x").info("ünï", smile=chr(0x1F600))
""",
        LC_ALL="C",
        PYTHONUTF8="0",
        PYTHONCOERCECLOCALE="0",
    )
    assert (entries[0]["event"], entries[0]["smile"]) == ("ünï", chr(0x1F600))


def test_native_log_capture_does_nothing_without_a_stderr() -> None:
    program = "with native.captured() as stderr:\n    log_to(stderr)\n    print('runs')"
    command = shlex.join([sys.executable, "-c", PRELUDE + program]) + " 2>&-"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert (done.returncode, done.stdout) == (0, "runs\n")


@pytest.mark.parametrize("line", ["", "   "])
def test_blank_native_lines_are_not_logged(line: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        take(line)
    assert caplog.records == []
