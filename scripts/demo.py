"""The demo behind scripts/run: start everything, create one session, show its progress, serve until Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import jwt
from pydantic_settings import BaseSettings, SettingsConfigDict
from rich.console import Console
from yarl import URL

from http_api.cli.create import create_ready_session
from http_api.cli.progress import Progress
from http_api.settings.complaint import BadSettings
from http_api.settings.settings import Settings
from http_api.settings.state_dir import with_state_dir
from manager_agent.interfaces import HELP, has_interface
from scripts.free_ports import PortNotFreeError, free_port, require_free
from scripts.livekit_build import VERSION, LiveKitServerError, find_or_build
from scripts.livekit_server import LiveKitServer
from scripts.prerequisites import end_of
from scripts.repository import ROOT
from session_manager_client import ApiError, Client, Unreachable
from session_manager_client.models import ServiceInfo

SERVICES = {
    "asr-service": "examples.asr_service",
    "llm-service": "examples.llm_service",
    "tts-service": "examples.tts_service",
}
PROFILES = ROOT / "examples" / "services.yaml"
START_TIMEOUT = 90.0
STOP_TIMEOUT = 10.0
POLL_INTERVAL = 0.03
LINES_SHOWN = 20
BUILDING = 5.0
"""Seconds that it takes longer to build livekit-server, and shorter to find it."""

console = Console(highlight=False)


class Ports(BaseSettings):
    model_config = SettingsConfigDict(env_file=".env", extra="ignore")

    server_port: int = 8080
    livekit_port: int = 7880


class DemoProgramEnded(Exception):
    """A program that should keep running has ended. The message includes the end of its log."""


class DemoProgram:
    """A program that we start, log to a file, and stop by its pid."""

    def __init__(self, name: str, log: Path, *command: str, env: dict[str, str]) -> None:
        self.name = name
        self._log = log
        self._command, self._env = command, env
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", *self._command],
                cwd=ROOT,
                env=os.environ | self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,  # keep Ctrl-C to ourselves: we stop the programs in order
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def restart_if_ended(self) -> bool:
        """Restart the program if it has ended. Returns whether it was restarted."""
        if self._process.poll() is None:
            return False
        self._process = self._start()
        return True

    def check(self) -> None:
        """Raises DemoProgramEnded if the program has ended."""
        if self._process.poll() is not None:
            end = end_of(self._log.read_text(errors="replace"), LINES_SHOWN)
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
async def everything(binary: Path, ports: Ports, logs: Path) -> AsyncIterator[tuple[LiveKitServer, list[DemoProgram]]]:
    """Start livekit-server, the API and the services, and wait until all are registered. Stop them in reverse order."""
    api_url = f"http://127.0.0.1:{ports.server_port}"
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

        env = {"SERVER_PORT": str(ports.server_port), "LIVEKIT_SERVER_URL": livekit.url}
        settings = Settings.load(dev=True).model_copy(update={"livekit_server_url": livekit.url})
        if (state_dir := with_state_dir(settings).state_dir) is not None:
            env["STATE_DIR"] = str(state_dir)
        if settings.services_file is None:
            env["SERVICES_FILE"] = str(PROFILES)
        start("http_api", "http_api", "--dev", **env)
        service_ports = {service_id: free_port() for service_id in SERVICES}
        for service_id, module in SERVICES.items():
            # No drain: Ctrl-C should not wait for running sessions.
            env = {"SESSION_MANAGER_URL": api_url, "SERVICE_DRAIN_TIMEOUT": "0"}
            start(service_id, module, "--port", str(service_ports[service_id]), **env)
        await _until_registered(api_url, programs, service_ports)
        yield livekit, programs


async def _until_registered(api_url: str, programs: list[DemoProgram], ports: Mapping[str, int]) -> None:
    # Without retries: this loop polls.
    async with Client(api_url, max_wait=0) as client, asyncio.timeout(START_TIMEOUT):
        while True:
            for program in programs:
                program.check()
            with suppress(Unreachable, ApiError):
                known = await client.services()
                if are_registered(known, ports) and (await client.health()).manager_agent == "registered":
                    return
            await asyncio.sleep(POLL_INTERVAL)


def are_registered(known: Iterable[ServiceInfo], ports: Mapping[str, int]) -> bool:
    """Whether each of these services is known at its port. Others may be known too, and these at other ports: STATE_DIR
    has the registrations of earlier runs."""
    found = {service.service_id: URL(service.endpoint).port for service in known if service.endpoint is not None}
    return ports.items() <= found.items()


async def show_one_session(api_url: str) -> bool:
    """Create a session and print each step of each service as it happens, then the token. Returns whether there is
    one."""
    request = {"user_identity": "alice", "user_name": "Alice", "required_services": list(SERVICES)}
    curl = f"curl -s {api_url}/api/v1/sessions -H 'Content-Type: application/json' -d '{json.dumps(request)}'"
    console.print(f"\n[bold]A session for alice with {', '.join(SERVICES)}[/]")
    async with Client(api_url) as client:
        try:
            session = await create_ready_session(client, Progress(console), **request)
        except ApiError as problem:
            console.print(str(problem), style="red", markup=False)
            return False
    console.print()
    console.print(session.access_token, soft_wrap=True)
    claims = jwt.decode(session.access_token, options={"verify_signature": False})
    console.print(f"\n[bold]Its claims:[/] {json.dumps(claims)}", soft_wrap=True)
    console.print(f"\n[bold]Create another session:[/]\n{curl}", soft_wrap=True)
    return True


def time_taken(total: float, finding: float) -> str:
    """How long the first token took, from the start of scripts/run. `finding`: the seconds to find or build
    livekit-server."""
    said = f"The token came {total:.0f} s after the start"
    if finding < BUILDING:
        return said
    return f"{said}, {finding:.0f} s of them to build livekit-server: {VERSION} of it on the PATH saves them"


def watch(livekit: LiveKitServer, programs: list[DemoProgram]) -> None:
    """Restart services that have ended. Raises LiveKitServerError or DemoProgramEnded if another program has ended."""
    livekit.check()
    for program in programs:
        if program.name not in SERVICES:
            program.check()
        elif program.restart_if_ended():
            console.print(f"{program.name} ended and was restarted. To see it again: kill {program.pid}")


async def serve(ports: Ports, logs: Path) -> None:
    """Run the demo until cancelled, or until livekit-server or the API ends."""
    begun, started = float(os.environ.get("RUN_STARTED", time.time())), time.monotonic()
    api_url = f"http://127.0.0.1:{ports.server_port}"
    require_free(ports.server_port, "SERVER_PORT")
    require_free(ports.livekit_port, "LIVEKIT_PORT")
    binary = await asyncio.to_thread(find_or_build, lambda line: console.print(line))
    finding = time.monotonic() - started
    async with everything(binary, ports, logs) as (livekit, programs):
        console.print(
            f"livekit-server on {ports.livekit_port}, the API on {ports.server_port} and {len(SERVICES)} services are "
            f"up after {time.monotonic() - started - finding:.1f} s; logs in {logs} until the demo ends",
            soft_wrap=True,
        )
        if await show_one_session(api_url):
            console.print(f"\n{time_taken(time.time() - begun, finding)}", soft_wrap=True)
        console.print(f"\n[bold]See a lost service replaced:[/] kill {programs[-1].pid} ({programs[-1].name})")
        console.print(f"\nServing on {api_url} until Ctrl-C. Open it in a browser to watch.")
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
        # Further signals change nothing: it is already stopping.
        asyncio.get_running_loop().add_signal_handler(number, lambda: serving.cancelling() or serving.cancel())
    with tempfile.TemporaryDirectory(prefix="session-manager-") as folder, suppress(asyncio.CancelledError):
        await serve(Ports(), Path(folder))


if __name__ == "__main__":
    if not has_interface():
        sys.exit(f"run: {HELP}")
    try:
        asyncio.run(main())
    except (BadSettings, PortNotFreeError, LiveKitServerError, DemoProgramEnded) as error:
        sys.exit(f"run: {error}")
    except TimeoutError:
        sys.exit(f"run: the services did not register within {START_TIMEOUT:.0f} s")
