"""What scripts/package builds, installed into empty environments: a session with a service that is installed too, and
sessions of the client that is installed alone."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import tarfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from zipfile import ZipFile

import aiohttp
import pytest

from http_api import VERSION
from scripts.free_ports import free_port
from scripts.repository import ROOT
from tests.live.conftest import Site, Stack
from tests.waiting import waiting_for

pytestmark = pytest.mark.live

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
"""Its versions are not on the PATH, but for those that are chosen."""
PACKAGES = {"manager_agent", "http_api", "service_kit", "session_manager_client"}
OF_THE_CLIENT_ALONE = {"session_manager_client/pyproject.toml", "session_manager_client/README.md"}
SERVICE = """
import sys
from service_kit import Service

service = Service("installed", type="BOT")


@service.on_invite
async def talk(job):
    await job.join()
    await job.say_ready()
    await job.ended()


heavy = {"http_api", "livekit.agents", "opentelemetry"} & set(sys.modules)
assert not heavy, heavy
service.run()
"""
CLIENT_PROGRAM = """
import asyncio
import importlib.util
import sys
from session_manager_client import Client, SyncClient

url = sys.argv[1]


async def use() -> None:
    async with Client(url) as client, client.session(required_services=[]) as session:
        assert session.access_token


asyncio.run(use())
with SyncClient(url) as client, client.session(required_services=[]) as session:
    assert session.access_token
for name in ("http_api", "livekit", "manager_agent"):
    assert importlib.util.find_spec(name) is None, name
"""


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Built once in a run of the tests, by the first of its processes that needs them."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "packages"
    with folder.with_suffix(".lock").open("w") as building:
        fcntl.flock(building, fcntl.LOCK_EX)  # released by the system when the process ends, in whatever way
        if not folder.exists():
            unfinished = folder.with_suffix(".unfinished")
            subprocess.run([ROOT / "scripts" / "package", unfinished], check=True)
            unfinished.rename(folder)
    return folder


@pytest.fixture
def wheel(packages: Path) -> Path:
    [built] = packages.glob("livekit_session_manager-*.whl")
    return built


@pytest.fixture
def client_wheel(packages: Path) -> Path:
    [built] = packages.glob("livekit_session_client-*.whl")
    return built


def test_the_wheel_has_the_packages_with_their_files_and_nothing_else(wheel: Path) -> None:
    names = set(ZipFile(wheel).namelist())
    info = f"livekit_session_manager-{VERSION}.dist-info"
    assert {name.partition("/")[0] for name in names} == {*PACKAGES, info}
    listing = subprocess.run(["git", "ls-files", *PACKAGES], cwd=ROOT, check=True, capture_output=True, text=True)
    files = set(listing.stdout.split()) - OF_THE_CLIENT_ALONE
    assert names - files == {name for name in names if name.startswith(info)}
    assert files <= names


def test_the_source_distribution_has_no_tests(packages: Path) -> None:
    [built] = packages.glob("livekit_session_manager-*.tar.gz")
    with tarfile.open(built) as sources:
        folders = {name.split("/")[1] for name in sources.getnames() if "/" in name}
    assert folders >= {*PACKAGES, "pyproject.toml", "README.md", "LICENSE"}
    assert "tests" not in folders


def test_the_clients_wheel_has_the_client_and_nothing_else(client_wheel: Path) -> None:
    names = set(ZipFile(client_wheel).namelist())
    info = f"livekit_session_client-{VERSION}.dist-info"
    assert {name.partition("/")[0] for name in names} == {"session_manager_client", info}
    assert f"{info}/licenses/LICENSE" in names


@pytest.mark.parametrize("version", PYTHONS)
async def test_the_client_installed_alone_makes_sessions(
    version: str, client_wheel: Path, stack: Stack, tmp_path: Path
) -> None:
    python = await _environment(version, client_wheel, tmp_path)
    program = await asyncio.create_subprocess_exec(
        *(python, "-c", CLIENT_PROGRAM, stack.url), cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    written, _ = await program.communicate()
    assert (program.returncode, written.decode()) == (0, "")


@pytest.mark.parametrize("version", PYTHONS)
async def test_installed_in_an_empty_environment_it_serves_a_session(
    version: str, wheel: Path, site: Site, tmp_path: Path
) -> None:
    python, log = await _environment(version, wheel, tmp_path), tmp_path / "log"
    (tmp_path / "a_service.py").write_text(SERVICE)
    url, endpoint = f"http://127.0.0.1:{site.api_port}", free_port()
    environment = {
        "SERVER_PORT": str(site.api_port),
        "LIVEKIT_SERVER_URL": site.livekit.url,
        "SESSION_MANAGER_URL": url,
        "SERVICE_PORT": str(endpoint),
    }
    async with (
        _running([python.with_name("session-manager"), "serve", "--dev"], environment, log) as serving,
        _running([python, tmp_path / "a_service.py", "--port", str(endpoint)], environment, log) as service,
        aiohttp.ClientSession(url) as http,
        waiting_for("a session of the installed service", log.read_text),
    ):
        while (status := await _asked(http)) != 201:
            assert serving.returncode is None, log.read_text()
            assert service.returncode is None, log.read_text()
            assert status in (0, 424, 503), log.read_text()  # not listening yet; the service is not registered yet
            await asyncio.sleep(0.05)


async def _asked(http: aiohttp.ClientSession) -> int:
    """The status of the answer to a request for a session; 0: none."""
    try:
        asked = {"user_identity": "alice", "required_services": ["installed"]}
        async with http.post("/api/v1/sessions", json=asked) as answer:
            session = await answer.json()
            assert (answer.status == 201) == bool(session.get("access_token"))
            return answer.status
    except aiohttp.ClientConnectionError:
        return 0


async def _environment(version: str, wheel: Path, folder: Path) -> Path:
    """The Python of a new environment with this wheel. Skips the test if there is no such version."""
    python, log = folder / "venv" / "bin" / "python", folder / "log"
    if not await _uv("venv", "--python", version, "--no-python-downloads", folder / "venv", log=log):
        pytest.skip(f"no Python {version} on this machine")
    assert await _uv("pip", "install", "--python", python, wheel, log=log), log.read_text()
    return python


async def _uv(*arguments: str | Path, log: Path) -> bool:
    """Whether uv did it."""
    found = os.pathsep.join([os.environ["PATH"], *map(str, sorted(PYENV.glob("versions/*/bin")))])
    with log.open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            ROOT / ".venv/bin/uv",
            *arguments,
            stdout=out,
            stderr=out,
            env=os.environ | {"UV_NO_CONFIG": "1", "PATH": found},
        )
        return await process.wait() == 0


@asynccontextmanager
async def _running(
    command: Sequence[str | Path], environment: dict[str, str], log: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The process, started outside the repository, and stopped at the end."""
    with log.open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=log.parent, env=os.environ | environment, stdin=asyncio.subprocess.DEVNULL,
            stdout=out, stderr=out,
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()
