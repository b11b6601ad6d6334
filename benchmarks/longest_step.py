"""Measure how long one request can keep the event loop busy: `python -m benchmarks.longest_step`.

The API runs in this process, with a stand-in for LiveKit that answers at once. A second process sends requests of up to
64 KiB one after another; then those whose work grows with what the server has: it has thousands of sessions by then,
the latest with 12 KiB of metadata each, and is given 500 services. A step is one callback of the event loop; its CPU
time counts, so that the load of the machine does not.
"""

from __future__ import annotations

import asyncio
import gc
import io
import json
import sys
import time
from asyncio import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import aiohttp

from benchmarks.command import BenchmarkCommand
from benchmarks.result import Figure, FigureTable, WorkCheck
from http_api.bootstrap import ComponentTypes, compose
from http_api.observability import logs
from http_api.observability.sinks import LogSinks
from http_api.server import serving
from http_api.settings.secret_values import secret_values
from http_api.settings.settings import DevSettings
from manager_agent.control.reconcile import Reconciler
from manager_agent.livekit.acting_process import ActingProcess
from manager_agent.livekit.agent import ManagerAgent
from manager_agent.livekit.listed_room import ListedRoom
from manager_agent.livekit.server_api import Listing, Rooms
from manager_agent.session.session import Session
from scripts.free_ports import free_port

BODY_MAX = 64 * 1024
SECONDS, QUICK_SECONDS, PAUSE = 2.0, 0.1, 0.02
"""Per case: how long requests are sent, and the pause between two."""
BIG_SESSIONS, SERVICES = 200, 500
QUICK_BIG_SESSIONS = 10
FLOOR = "floor: /livez"
SESSIONS, TOKEN, REGISTER = "/api/v1/sessions", "/api/v1/token", "/api/v1/microservices/register"
MICROSERVICES = "/api/v1/microservices"
USER: dict[str, Any] = {"user_identity": "alice", "required_services": []}
SERVICE: dict[str, Any] = {"service_id": "asr", "endpoint": "http://127.0.0.1:1/"}


class QuickRooms(Rooms):
    async def check(self) -> None: ...

    async def create(self, session: Session, *, patience: float = 0.0) -> str:
        return f"RM_{session.session_id}"

    async def delete(self, room_name: str, *, sid: str, session_id: str) -> None: ...

    async def list_rooms(self) -> list[ListedRoom]:
        return []

    async def list_participants(self, room_name: str) -> Listing:
        return Listing((), ())

    async def dispatch_manager(self, session: Session, attempt: int) -> None: ...

    async def show_status(self, session: Session) -> None: ...

    async def record_specification(self, session: Session) -> None: ...


class OnlyProcess(ActingProcess):
    @property
    def may_act(self) -> bool:
        return True

    async def start(self, last_writer: str = "") -> None: ...

    async def aclose(self) -> None: ...


class NoAgent(ManagerAgent):
    async def start(self) -> None: ...

    async def aclose(self) -> None: ...


class NoReconciler(Reconciler):
    async def start(self) -> None: ...


def filled(item: str, frame: str, most: int = BODY_MAX) -> bytes:
    """The frame with `$` replaced by as many items as fit. `#` in an item is its number."""
    items, size, number = list[str](), len(frame), 0
    while True:
        one = item.replace("#", str(number))
        size += len(one) + 1
        if size > most:
            return frame.replace("$", ",".join(items)).encode()
        items.append(one)
        number += 1


def in_session(field: str, value: str) -> str:
    return json.dumps(USER, separators=(",", ":"))[:-1] + f',"{field}":{value}}}'


def bodies() -> Iterator[tuple[str, str, bytes]]:
    """Name, path and body of the requests whose work grows with their body."""
    yield "a small session", SESSIONS, json.dumps(USER).encode()
    yield "12 KiB of metadata `[{},{},...]`", SESSIONS, filled("{}", in_session("metadata", '{"a":[$]}'), 12 * 1024)
    yield "64 KiB of metadata `[{},{},...]`", SESSIONS, filled("{}", in_session("metadata", '{"a":[$]}'))
    yield "64 KiB of metadata `[0,0,...]`", SESSIONS, filled("0", in_session("metadata", '{"a":[$]}'))
    yield "64 KiB of metadata, text", SESSIONS, filled("a" * 99, in_session("metadata", '{"a":"$"}'))
    yield "9,000 values with an escape", SESSIONS, filled('"\\ud83d\\ude00"', in_session("metadata", '{"a":[$]}'))
    yield "control characters", SESSIONS, filled('"\\u0001"', in_session("metadata", '{"a":[$]}'))
    yield "unknown fields", SESSIONS, filled('"a#":1', '{"user_identity":"alice",$}')
    yield "user_attributes", SESSIONS, filled('"a#":1', in_session("user_attributes", "{$}"))
    yield "user_grants", SESSIONS, filled('"a#":1', in_session("user_grants", "{$}"))
    yield "required_services", SESSIONS, filled('{"a":1}', '{"user_identity":"alice","required_services":[$]}')
    labels = '{"user_identity":"alice","required_services":[{"type":"ASR","labels":{$}}]}'
    yield "labels", SESSIONS, filled('"a#":1', labels)
    yield "nested 30,000 deep", SESSIONS, b"[" * 30_000 + b"]" * 30_000
    yield "not JSON", SESSIONS, b'"' + b"\\" * (BODY_MAX - 1)
    yield "/token: unknown fields", TOKEN, filled('"a#":1', "{$}")
    yield "/token: unknown fields of room_config", TOKEN, filled('"a#":1', '{"room_config":{$}}')
    yield "/token: unknown fields of an agent", TOKEN, filled('"a#":1', '{"room_config":{"agents":[{$}]}}')
    yield "/token: agents", TOKEN, filled('{"agent_name":"a#"}', '{"room_config":{"agents":[$]}}')
    yield "/register: metadata", REGISTER, filled('"a#":1', json.dumps(SERVICE)[:-1] + ',"metadata":{"type":"A",$}}')


def lookups() -> Iterator[tuple[str, str, str, bytes]]:
    """Name, method, path and body of the requests whose work grows with what the server has."""
    yield "100 sessions", "GET", f"{SESSIONS}?limit=100", b""
    yield "100 sessions, none found", "GET", f"{SESSIONS}?limit=100&service=nothing", b""
    yield "500 services", "GET", MICROSERVICES, b""
    required = {"user_identity": "alice", "required_services": [{"type": "ASR"}]}
    yield "a session with one of 500 services", "POST", SESSIONS, json.dumps(required).encode()
    yield "/health", "GET", "/health", b""


async def fill(port: int, sessions: int) -> None:
    """Make the sessions and services that `lookups` are about."""
    big = json.loads(filled("{}", in_session("metadata", '{"a":[$]}'), 12 * 1024))
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", raise_for_status=True) as http:
        for _ in range(sessions):
            await http.post(SESSIONS, json=big, headers={"Prefer": "respond-async"})
        for number in range(SERVICES):
            service = SERVICE | {"service_id": f"asr-{number}", "metadata": {"type": "ASR"}}
            await http.post(REGISTER, json=service)


@dataclass(frozen=True, slots=True)
class LongestStep:
    name: str
    size: int
    """Bytes of the body."""
    status: str
    longest: float
    """CPU seconds."""

    @property
    def title(self) -> str:
        return f"{self.name}; {self.size:,} bytes, {self.status}" if self.size else self.name


@contextmanager
def steps() -> Iterator[list[float]]:
    """The CPU seconds of each step of the event loop within the block."""
    took: list[float] = []
    run = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        begun = time.thread_time()
        run(handle)
        took.append(time.thread_time() - begun)

    asyncio.Handle._run = timed  # type: ignore[assignment, method-assign]
    try:
        yield took
    finally:
        asyncio.Handle._run = run  # type: ignore[method-assign]


async def flood(port: int, request: bytes, seconds: float) -> tuple[str, float]:
    """The statuses of the responses, and the median over slices of the longest step."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.flood", str(port), request.decode("latin-1"), "1", str(PAUSE), str(seconds),
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    await child.stdout.readline()
    longest = []
    while child.returncode is None:
        with steps() as took:
            await asyncio.sleep(seconds / 10)
        longest.append(max(took, default=0.0))
    figures = json.loads(await child.stdout.readline())
    return "/".join(sorted(figures)), median(longest[1:-1] or longest)


async def measure(seconds: float, big_sessions: int) -> list[LongestStep]:
    settings = DevSettings(_env_file=None, server_port=free_port(), sessions_max=1_000_000, creates_in_flight=1_000_000)
    logs.configure(dev=False, level="info", secrets=secret_values(settings), stream=io.StringIO(), sinks=())
    types = ComponentTypes(acting=OnlyProcess, rooms=QuickRooms, agent=NoAgent, reconciler=NoReconciler)
    parts = compose(settings, LogSinks(), types=types)
    async with serving(parts):
        port = settings.server_port
        gc.collect()
        gc.freeze()  # as the server does
        measured = [await step(FLOOR, port, "GET", "/livez", b"", seconds)]
        for name, path, body in bodies():
            measured.append(await step(name, port, "POST", path, body, seconds))
        await fill(port, big_sessions)
        for name, method, path, body in lookups():
            measured.append(await step(name, port, method, path, body, seconds))
        return measured


async def step(name: str, port: int, method: str, path: str, body: bytes, seconds: float) -> LongestStep:
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Prefer: respond-async\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    status, longest = await flood(port, head.encode() + body, seconds)
    return LongestStep(name, len(body), status, longest)


def table(measured: Sequence[LongestStep]) -> FigureTable:
    figures = [
        Figure(work="longest step", by=one.title, unit="ms", value=1e3 * one.longest, floor=FLOOR) for one in measured
    ]
    return FigureTable(title="The longest step of the event loop, by request; CPU", figures=figures)


def main() -> None:
    command = BenchmarkCommand("longest_step", __doc__)
    command.add_size("seconds", SECONDS, QUICK_SECONDS, "for each request")
    command.add_size("sessions", BIG_SESSIONS, QUICK_BIG_SESSIONS, "sessions with 12 KiB of metadata")
    asked = command.read()
    measured = asyncio.run(measure(asked.seconds, asked.sessions))
    mixed = {one.name: one.status for one in measured if "/" in one.status or one.status.startswith("5")}
    check = WorkCheck("each request got one answer, and no 5xx", not mixed, str(mixed or ""))
    command.finish(table(measured), checks=[check])


if __name__ == "__main__":
    main()
