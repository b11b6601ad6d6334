"""Runs of tests in processes of their own: what a run reports, and how it survives what happens in a test."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import psutil
import pytest

from scripts.repository import ROOT

pytestmark = [pytest.mark.unit, pytest.mark.timeout(600)]  # each starts several processes

PANICKING = """
import ctypes, signal, pytest
from livekit.rtc import _ffi_client
from livekit.rtc._proto.ffi_pb2 import FfiEvent, Panic
@pytest.mark.parametrize("number", range(6))
def test_number(number):
    if number == 3:
        event = FfiEvent(panic=Panic(message="nobody took the room")).SerializeToString()
        buffer = (ctypes.c_uint8 * len(event)).from_buffer_copy(event)
        _ffi_client.ffi_event_callback(buffer, len(event))
        signal.pause()
"""
INTERRUPTING = """
import signal, subprocess, sys
def test_child():
    child = subprocess.Popen([sys.executable, "-c", "print(flush=True); import time; time.sleep(30)"], stdout=-1)
    child.stdout.readline()
    child.send_signal(signal.SIGINT)
    child.communicate()
    assert child.returncode == -signal.SIGINT
"""
DYING = """
import os, pathlib, signal, subprocess
def test_dying():
    command = ["sh", "-c", "sleep 600 & echo $$ $!; wait"]
    child = subprocess.Popen(command, process_group=0, stdout=subprocess.PIPE)
    pathlib.Path(__file__).with_name("pids").write_bytes(child.stdout.readline())
    os.kill(os.getpid(), signal.SIGKILL)
def test_other():
    pass
"""
LEAKING = """
import jwt
from tests.leak_scanner import LEAK_SCANNER
def test_leaking():
    LEAK_SCANNER.text("callback", "/here", jwt.encode({"sub": "alice"}, "x" * 32))
def test_discreet():
    LEAK_SCANNER.text("callback", "/here", "alice")
"""
LOOKING = """
from tests.leak_scanner import LEAK_SCANNER
async def test_api(api):
    async with api.http.get("/api/v1/sessions") as answer:
        assert answer.status == 200
    async with api.http.get("/api/v1/sessions/ses_x") as problem:
        assert problem.status == 404
    async with api.http.get("/api/v1/events") as stream:
        await stream.content.readline()
def test_scanner():
    assert {"application/json", "application/problem+json", "text/event-stream", "log"} <= set(LEAK_SCANNER.looked_at)
"""

PLUGINS_NOT_USED = ("cacheprovider", "schemathesis", "hypothesispytest", "anyio")
"""What each process of a run would import for seconds."""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run one file of tests: `run(source, "-n", "2")`. `before`: the beginning of the command line."""

    def run(source: str, *arguments: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        (file := tmp_path / "test_inner.py").write_text(source)
        plugins = ("tests.conftest", *(f"no:{name}" for name in PLUGINS_NOT_USED))
        options = ("-c", "pyproject.toml", *chain.from_iterable(("-p", name) for name in plugins))
        command = (*before, sys.executable, "-m", "pytest", *options, *arguments, str(file))
        return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    return run


def outcomes(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """The counts in the last line of a run: {"passed": 5, "failed": 1}."""
    last = done.stdout.splitlines()[-1]
    return {kind: int(count) for count, kind in re.findall(r"(\d+) (passed|failed|error)", last)}


def test_a_run_names_the_test_in_which_the_sdk_panicked_and_goes_on(run: Run) -> None:
    """The SDK terminates its process then."""
    done = run(PANICKING, "-p", "tests.live.conftest", "-n", "2", "--dist", "worksteal")
    assert outcomes(done) == {"passed": 5, "failed": 1}, done.stdout
    assert re.search(r"crashed while running '.*test_number\[3\]'", done.stdout), done.stdout
    assert "FFI Panic:  nobody took the room" in done.stdout
    assert re.search(r'File ".*/test_inner.py", line \d+ in test_number', done.stdout), "no stack was shown"


@pytest.mark.parametrize("workers", ["0", "2"])
def test_tests_can_interrupt_programs_in_a_run_that_ignores_sigint(run: Run, workers: str) -> None:
    done = run(INTERRUPTING, "-n", workers, before=("sh", "-c", 'trap "" INT QUIT; exec "$@"', "run"))
    assert outcomes(done) == {"passed": 1}, done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux hands orphans to another process than init")
def test_programs_of_a_dead_worker_are_ended(run: Run, tmp_path: Path) -> None:
    done = run(DYING, "-n", "1")
    assert outcomes(done) == {"passed": 1, "failed": 1}, done.stdout
    child, grandchild = map(int, (tmp_path / "pids").read_text().split())
    assert not psutil.pid_exists(child)
    assert not psutil.pid_exists(grandchild)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_leak_fails_the_test_that_leaked(run: Run, workers: str) -> None:
    done = run(LEAKING, "-n", workers)
    assert outcomes(done) == {"passed": 2, "error": 1}, done.stdout
    assert "ERROR at teardown of test_leaking" in done.stdout
    assert "callback of /here" in done.stdout


def test_what_an_api_lets_out_is_scanned_for_leaks(run: Run) -> None:
    done = run(LOOKING, "-p", "tests.api.conftest")
    assert outcomes(done) == {"passed": 2}, done.stdout
