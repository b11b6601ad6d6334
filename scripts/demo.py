"""What scripts/run does: starts everything, asks for one session, shows how it comes about, serves until Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import jwt
from pydantic_settings import BaseSettings, SettingsConfigDict
from rich.console import Console

from http_api.cli.create import opened
from http_api.cli.progress import Progress
from http_api.client import ApiError, Client, Unreachable
from scripts.livekit_server import (
    ROOT,
    LiveKitServer,
    LiveKitServerError,
    PortNotFreeError,
    find_or_build,
    free_port,
    require_free,
)

SERVICES = {
    "asr-service": "examples.asr_service",
    "llm-service": "examples.llm_service",
    "tts-service": "examples.tts_service",
}
START_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0
POLL_INTERVAL = 0.03
LINES_SHOWN = 20

console = Console(highlight=False)


class Ports(BaseSettings):
    model_config = SettingsConfigDict(env_file=".env", extra="ignore")

    server_port: int = 8080
    livekit_port: int = 7880


class DemoProgramEnded(Exception):
    """One of the programs has ended unexpectedly; the message has the end of its log."""


class DemoProgram:
    """A program with its output in a log, stopped by its pid."""

    def __init__(self, name: str, log: Path, *command: str, env: dict[str, str]) -> None:
        self.name = name
        self._log = log
        self._command, self._env = command, env
        self._process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", *self._command],
                cwd=ROOT,
                env=os.environ | self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C is for us: we stop it in its turn
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def start_again(self) -> bool:
        """If it has ended."""
        if self._process.poll() is None:
            return False
        self._process = self._started()
        return True

    def check(self) -> None:
        """Raises DemoProgramEnded when it has."""
        if self._process.poll() is not None:
            end = "\n".join(self._log.read_text(errors="replace").splitlines()[-LINES_SHOWN:])
            raise DemoProgramEnded(f"{self.name} ended with exit code {self._process.returncode}:\n{end}")

    async def stop(self) -> None:
        with suppress(ProcessLookupError):
            self._process.terminate()
        deadline = time.monotonic() + STOP_TIMEOUT
        while self._process.poll() is None and time.monotonic() < deadline:
            await asyncio.sleep(POLL_INTERVAL)
        self._process.kill()
        self._process.wait()


@asynccontextmanager
async def everything(ports: Ports, logs: Path) -> AsyncIterator[tuple[LiveKitServer, list[DemoProgram]]]:
    """livekit-server, the API and the services, up and registered; stopped in the opposite order."""
    api_url = f"http://127.0.0.1:{ports.server_port}"
    require_free(ports.server_port, "SERVER_PORT")
    require_free(ports.livekit_port, "LIVEKIT_PORT")
    binary = await asyncio.to_thread(find_or_build, lambda line: console.print(line))
    async with AsyncExitStack() as stack:
        livekit = LiveKitServer(
            binary, port=ports.livekit_port, webhook_url=f"{api_url}/livekit/webhook", log=logs / "livekit-server.log"
        )
        await stack.enter_async_context(livekit)
        programs: list[DemoProgram] = []

        def start(name: str, *command: str, **env: str) -> None:
            program = DemoProgram(name, logs / f"{name}.log", *command, env=env)
            stack.push_async_callback(program.stop)
            programs.append(program)

        start("http_api", "http_api", "--dev", SERVER_PORT=str(ports.server_port), LIVEKIT_SERVER_URL=livekit.url)
        for service_id, module in SERVICES.items():
            # No visit is worth waiting for at Ctrl-C.
            quick = {"SESSION_MANAGER_URL": api_url, "SERVICE_DRAIN_TIMEOUT": "0"}
            start(service_id, module, "--port", str(free_port()), **quick)
        await _until_registered(api_url, programs)
        yield livekit, programs


async def _until_registered(api_url: str, programs: list[DemoProgram]) -> None:
    async with Client(api_url, max_wait=POLL_INTERVAL) as client, asyncio.timeout(START_TIMEOUT):
        while True:
            for program in programs:
                program.check()
            with suppress(Unreachable, ApiError):
                known = await client.services()
                if len(known) == len(SERVICES) and (await client.health()).manager_agent == "registered":
                    return
            await asyncio.sleep(POLL_INTERVAL)


async def show_one_session(api_url: str) -> None:
    """Asks for a session and prints every step of every service as it happens, then the token."""
    request = {"user_identity": "alice", "user_name": "Alice", "required_services": list(SERVICES)}
    curl = f"curl -s {api_url}/api/v1/sessions -H 'Content-Type: application/json' -d '{json.dumps(request)}'"
    console.print(f"\n[bold]A session for alice with {', '.join(SERVICES)}[/]")
    async with Client(api_url) as client:
        try:
            session = await opened(client, Progress(console), **request)
        except ApiError as problem:
            console.print(str(problem), style="red", markup=False)
            return
    console.print()
    console.print(session.access_token, soft_wrap=True)
    claims = jwt.decode(session.access_token, options={"verify_signature": False})
    console.print(f"\n[bold]which says[/] {json.dumps(claims)}", soft_wrap=True)
    console.print(f"\n[bold]Another one:[/]\n{curl}", soft_wrap=True)


def watch(livekit: LiveKitServer, programs: list[DemoProgram]) -> None:
    """Raises when livekit-server or the API has ended. A service that has is started again."""
    livekit.check()
    for program in programs:
        if program.name not in SERVICES:
            program.check()
        elif program.start_again():
            console.print(f"{program.name} ended. It is started again: kill {program.pid} to see that once more.")


async def serve(ports: Ports, logs: Path) -> None:
    """Until it is cancelled, or one of the programs ends."""
    started = time.monotonic()
    api_url = f"http://127.0.0.1:{ports.server_port}"
    async with everything(ports, logs) as (livekit, programs):
        console.print(
            f"livekit-server on {ports.livekit_port}, the API on {ports.server_port} and {len(SERVICES)} services: "
            f"up in {time.monotonic() - started:.1f} s (logs in {logs} until the end)"
        )
        await show_one_session(api_url)
        console.print(f"\nTo see how a service is replaced that is lost: kill {programs[-1].pid} ({programs[-1].name})")
        console.print(f"\nServing on {api_url} until Ctrl-C. Open that in a browser to see what happens.")
        try:
            while True:
                watch(livekit, programs)
                await asyncio.sleep(1)
        finally:
            console.print("\nStopping.")


async def main() -> None:
    serving = asyncio.current_task()
    assert serving is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        # Further ones change nothing: the stopping is under way.
        asyncio.get_running_loop().add_signal_handler(number, lambda: serving.cancelling() or serving.cancel())
    with tempfile.TemporaryDirectory(prefix="session-manager-") as folder, suppress(asyncio.CancelledError):
        await serve(Ports(), Path(folder))


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except (PortNotFreeError, LiveKitServerError, DemoProgramEnded) as error:
        sys.exit(f"run: {error}")
    except TimeoutError:
        sys.exit(f"run: the services did not register within {START_TIMEOUT:.0f} s")
