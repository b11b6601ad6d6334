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
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import aiohttp

from benchmarks.measuring import times
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
from scripts.livekit_server import free_port

BODY_MAX = 64 * 1024
SECONDS, PAUSE = 2.0, 0.02
"""Per case: how long requests are sent, and the pause between two."""
BIG_SESSIONS, SERVICES = 200, 500
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


async def fill(port: int) -> None:
    """Make the sessions and services that `lookups` are about."""
    big = json.loads(filled("{}", in_session("metadata", '{"a":[$]}'), 12 * 1024))
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", raise_for_status=True) as http:
        for _ in range(BIG_SESSIONS):
            await http.post(SESSIONS, json=big, headers={"Prefer": "respond-async"})
        for number in range(SERVICES):
            service = SERVICE | {"service_id": f"asr-{number}", "metadata": {"type": "ASR"}}
            await http.post(REGISTER, json=service)


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


async def flood(port: int, request: bytes) -> tuple[str, float]:
    """The statuses of the responses, and the median over slices of the longest step."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.flood", str(port), request.decode("latin-1"), "1", str(PAUSE), str(SECONDS),
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    await child.stdout.readline()
    longest = []
    while child.returncode is None:
        with steps() as took:
            await asyncio.sleep(SECONDS / 10)
        longest.append(max(took, default=0.0))
    figures = json.loads(await child.stdout.readline())
    return "/".join(sorted(figures)), median(longest[1:-1] or longest)


async def main() -> None:
    settings = DevSettings(_env_file=None, server_port=free_port(), sessions_max=1_000_000, creates_in_flight=1_000_000)
    logs.configure(dev=False, level="info", secrets=secret_values(settings), stream=io.StringIO(), sinks=())
    types = ComponentTypes(acting=OnlyProcess, rooms=QuickRooms, agent=NoAgent, reconciler=NoReconciler)
    parts = compose(settings, LogSinks(), types=types)
    async with serving(parts):
        port = settings.server_port
        gc.collect()
        gc.freeze()  # as the server does
        print(f"{'request':<38} {'bytes':>6}  {'status':<7} {'longest step, CPU ms':>20}")
        floor = await show("floor: /livez", port, "GET", "/livez")
        for name, path, body in bodies():
            await show(name, port, "POST", path, body, floor)
        await fill(port)
        for name, method, path, body in lookups():
            await show(name, port, method, path, body, floor)


async def show(name: str, port: int, method: str, path: str, body: bytes = b"", floor: float | None = None) -> float:
    """Print the row of a request. Returns its longest step."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Prefer: respond-async\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    status, longest = await flood(port, head.encode() + body)
    print(f"{name:<38} {len(body):>6}  {status:<7} {1e3 * longest:>12.2f}  {times(longest, floor or longest)}")
    return longest


if __name__ == "__main__":
    asyncio.run(main())
