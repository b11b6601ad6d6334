"""A livekit-server for development and tests: configure, start and stop it.

async with LiveKitServer(find_or_build(), port=free_port(), webhook_url=None, log=path) as server:
    ...  # server.url is ws://127.0.0.1:<port>, the API keys are those of livekit.yaml
"""

from __future__ import annotations

import asyncio
import copy
import os
import subprocess
import time
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

import aiohttp
import yaml

from scripts.free_ports import free_port, require_free
from scripts.livekit_build import LiveKitServerError
from scripts.prerequisites import end_of
from scripts.repository import ROOT

LIVEKIT_YAML = ROOT / "livekit.yaml"

START_TIMEOUT = 60.0  # seconds; usually it takes about 0.1
STOP_TIMEOUT = 5.0
POLL_INTERVAL = 0.02


def render_config(port: int, webhook_url: str | None, redis: str | None = None) -> str:
    """livekit.yaml for this port, with webhooks to this URL, or without. Unchanged text if the file already fits.
    `redis`: the address (host:port) of the Redis by which several servers are nodes of one LiveKit.

    If the port differs from the file's, the media ports are free ones too, so that several servers can run at once.
    """
    text = LIVEKIT_YAML.read_text()
    original: dict[str, Any] = yaml.safe_load(text)
    config = copy.deepcopy(original)
    if port != config["port"]:
        config["port"] = port
        config["rtc"] |= {"tcp_port": free_port(), "udp_port": free_port()}
    if webhook_url is None:
        del config["webhook"]
    else:
        config["webhook"]["urls"] = [webhook_url]
    if redis is not None:
        config["redis"] = {"address": redis}
    return text if config == original else yaml.safe_dump(config, sort_keys=False)


class LiveKitServer:
    """A livekit-server process on 127.0.0.1. An async context manager, or call start() and stop(), repeatedly.

    Its output is appended to `log`. Its configuration is livekit.yaml or a file next to the log.
    """

    def __init__(
        self, binary: Path, *, port: int, webhook_url: str | None, log: Path, redis: str | None = None
    ) -> None:
        self.port = port
        self.url = f"ws://127.0.0.1:{port}"
        self.http_url = f"http://127.0.0.1:{port}"
        self.log = log
        # Rendered once, so that a restarted server has the same ports.
        self._command = [str(binary), "--dev", "--config", str(_config_file(port, webhook_url, log, redis))]
        # Not asyncio's subprocess: it may be stopped from another event loop than it was started in (test fixtures).
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<LiveKitServer {self.url} [{f'pid {self._process.pid}' if self._process else 'stopped'}]>"

    @property
    def pid(self) -> int | None:
        """None: it is stopped."""
        return None if self._process is None else self._process.pid

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the server and wait until it answers.

        Raises PortNotFreeError, or LiveKitServerError with the end of its log.
        """
        require_free(self.port, "LIVEKIT_PORT")
        self._process = self._spawn()
        try:
            await asyncio.wait_for(self._answer(self._process), START_TIMEOUT)
        except BaseException as error:
            await self.stop()
            if isinstance(error, TimeoutError):
                raise self._failure(f"did not answer within {START_TIMEOUT:.0f} s") from None
            raise

    async def stop(self) -> None:
        """Stop the server and wait until it has ended. Does nothing if it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            # After the first SIGTERM it waits for the last participant to leave; within 0.1 s of its start it ignores
            # the signal. The second SIGTERM ends it.
            for timeout in (0.5, STOP_TIMEOUT - 0.5):
                process.terminate()
                if await _ended(process, timeout):
                    return
        finally:
            process.kill()  # also if waiting was cancelled; no effect on a process that has ended
            process.wait()

    def kill(self) -> None:
        """End the server at once, as a machine that fails would. start() starts it again."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def check(self) -> None:
        """Raises LiveKitServerError if it has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            raise self._failure(f"ended with exit code {self._process.returncode}")

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Not our environment: variables such as UDP_PORT and LIVEKIT_KEYS would override the file.
                env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
                # Its own process group, so that Ctrl-C does not stop it before the programs that use it.
                process_group=0,
            )

    async def _answer(self, process: subprocess.Popen[bytes]) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1)) as http:
            while process.poll() is None:
                with suppress(aiohttp.ClientError, TimeoutError):  # not listening yet
                    async with http.get(self.http_url) as response:
                        if response.status == HTTPStatus.OK:
                            return
                await asyncio.sleep(POLL_INTERVAL)
        raise self._failure("ended instead of starting")

    def _failure(self, what: str) -> LiveKitServerError:
        end = end_of(self.log.read_text(errors="replace"))
        return LiveKitServerError(f"livekit-server on port {self.port} {what}; the end of {self.log}:\n{end}")


def _config_file(port: int, webhook_url: str | None, log: Path, redis: str | None) -> Path:
    config = render_config(port, webhook_url, redis)
    if config == LIVEKIT_YAML.read_text():
        return LIVEKIT_YAML
    rendered = log.with_suffix(".config.yaml")
    rendered.write_text(config)
    return rendered


async def _ended(process: subprocess.Popen[bytes], timeout: float) -> bool:
    """Wait up to `timeout` seconds for the process to end. Returns whether it has."""
    deadline = time.monotonic() + timeout
    while process.poll() is None:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_INTERVAL)
    return True
