"""The session manager as a process of its own, which a test can kill and start again."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any, Self

import aiohttp

from scripts.free_ports import free_port
from scripts.repository import ROOT
from tests.live.conftest import Site
from tests.waiting import waiting_for


class ManagerProcess:
    """`python -m http_api --dev` in front of a livekit-server, on a port of its own."""

    module = "http_api"

    def __init__(self, site: Site, *, port: int | None = None, log: Path, **environment: str) -> None:
        self.port = port or free_port()
        self.log = log
        self.http = aiohttp.ClientSession(f"http://127.0.0.1:{self.port}")
        self._environment = {
            "SERVER_PORT": str(self.port),
            "LIVEKIT_SERVER_URL": site.livekit.url,
            "LOG_LEVEL": "debug",
            **environment,
        }
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()
        await self.end(signal.SIGTERM)

    async def start(self) -> None:
        """Start it and return once it is ready to serve."""
        await self.spawn()
        await self.until_ready()

    async def spawn(self) -> None:
        """Begin to start it."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, *self.arguments),
                cwd=ROOT,
                env=os.environ | self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def ended(self) -> int:
        """Wait for its end. Returns the exit code."""
        assert self._process is not None
        async with waiting_for("the session manager to end", lambda: self.tail):
            return await self._process.wait()

    async def until_ready(self) -> None:
        async with waiting_for("the session manager to be ready", lambda: self.tail):
            while await self._status("/readyz") != 200:
                await asyncio.sleep(0.02)

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arguments of the Python that runs it."""
        return "-m", self.module, "--dev"

    async def is_ready(self) -> bool:
        """Whether it is ready to serve now. One that has ended is not."""
        return self.is_running and await self._status("/readyz") == 200

    async def kill(self) -> None:
        """End it at once, as a machine that fails would."""
        await self.end(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        """Send a signal that does not end it, such as SIGSTOP and SIGCONT."""
        assert self._process is not None
        self._process.send_signal(number)

    async def end(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end. Returns the exit code."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(number)
            self._process.send_signal(signal.SIGCONT)  # it may be frozen
        return await self._process.wait()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-4_000:]

    async def refuses(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """The problem with which it refuses a request because another process acts. Checks that it says when to try
        again."""
        async with self.http.request(method, f"/api/v1{path}", json=body) as answer:
            problem = await answer.json()
            assert (answer.status, answer.headers.get("Retry-After")) == (503, "1"), problem
            assert answer.headers["Connection"] == "close"
        assert problem["type"].endswith(":not_acting"), problem
        return dict(problem)

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON body of the answer."""
        async with self.http.request(method, f"/api/v1{path}", json=body, headers=headers) as answer:
            return answer.status, await answer.json()

    async def session(self, session_id: str) -> dict[str, Any]:
        """The session, asked for again while the answer is 503."""
        return await self._answer("GET", f"/sessions/{session_id}")

    async def end_session(self, session_id: str) -> dict[str, Any]:
        """The session that was ended by this, as often as it takes: the answer is 503 while it may not act."""
        return await self._answer("DELETE", f"/sessions/{session_id}")

    async def _answer(self, method: str, path: str) -> dict[str, Any]:
        async with waiting_for(f"an answer to {method} {path}", lambda: self.tail):
            while True:
                status, session = await self.ask(method, path)
                if status != 503:
                    assert status == 200, session
                    return dict(session)
                await asyncio.sleep(0.05)

    async def until(self, session_id: str, state: str) -> dict[str, Any]:
        """The session once it is in this state. Fails at once if it is over in another one."""
        seen: list[Any] = []
        async with waiting_for(f"{session_id} to be {state}", lambda: (seen[-1:], self.tail)):
            while True:
                seen.append(await self.session(session_id))
                if seen[-1]["state"] == state:
                    return dict(seen[-1])
                assert seen[-1]["ended_at"] is None, seen[-1]
                await asyncio.sleep(0.05)

    async def _status(self, path: str) -> int:
        assert self._process is not None
        assert self._process.returncode is None, self.tail
        try:
            async with self.http.get(path) as answer:
                return answer.status
        except aiohttp.ClientConnectionError:
            return 0
