"""The services of deploy/compose.yaml that are ours, with LiveKit and Redis, outside containers.

Each runs its command with its variables and its configuration as the file has them. What differs is what containers
have of their own: the hosts are 127.0.0.1, the ports are free ones, and the folders are the test's. Without the load
balancer, its clients use the first replica.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from scripts.compose_env import compose_variables
from scripts.demo import SERVICES
from scripts.free_ports import free_port
from scripts.livekit_build import find_or_build
from scripts.redis_server import find_or_fetch
from scripts.repository import ROOT
from tests.prerequisites import prerequisite
from tests.waiting import eventually

pytestmark = [pytest.mark.live, pytest.mark.timeout(420)]  # seven processes start

COMPOSE = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
REPLICAS = ("session-manager-1", "session-manager-2")
FIRST_REPLICA = {"session-manager": REPLICAS[0], "balancer": REPLICAS[0]}
ADDRESS = re.compile(rf"\b({'|'.join([*FIRST_REPLICA, *COMPOSE['services']])}):(\d+)")
LINES_SHOWN = 20


class ComposeSite:
    """Starts the services of the file on 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        self.variables = compose_variables()
        self._folder = folder
        self._ports: dict[tuple[str, str], int] = {}
        self._logs: dict[str, Path] = {}
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    def port(self, service: str, port: str = "8080") -> int:
        """The port instead of this one of this service."""
        return self._ports.setdefault((FIRST_REPLICA.get(service, service), port), free_port())

    def filled_in(self, text: str) -> str:
        """The text with the addresses here, and the values of the variables, in which nothing is an address."""
        text = ADDRESS.sub(lambda found: f"127.0.0.1:{self.port(found[1], found[2])}", text)
        return re.sub(r"\$\{(\w+):(?:\?|-([^}]*))\}", lambda found: self.variables.get(found[1], found[2]), text)

    def check(self) -> None:
        """Raises AssertionError if one of them has ended."""
        ended = [name for name, process in self._processes.items() if process.returncode is not None]
        assert ended == [], self.seen()

    def seen(self) -> str:
        """The end of each log."""
        ends = {name: log.read_text(errors="replace").splitlines()[-LINES_SHOWN:] for name, log in self._logs.items()}
        return "\n".join(f"--- {name}\n" + "\n".join(lines) for name, lines in ends.items())

    @asynccontextmanager
    async def redis(self, binary: Path) -> AsyncIterator[None]:
        program, *options = [self.filled_in(word) for word in COMPOSE["services"]["redis"]["command"]]
        assert program == "redis-server"
        here = ["--port", str(self.port("redis", "6379")), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        async with self._running("redis", [str(binary), *options, *here], {}):
            await eventually("redis-server to listen", self._redis_listens)  # as the file's health check
            yield

    async def _redis_listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port("redis", "6379"))
        except OSError:
            return False
        writer.close()
        return True

    @asynccontextmanager
    async def livekit(self, binary: Path) -> AsyncIterator[None]:
        config = yaml.safe_load(self.filled_in(COMPOSE["configs"]["livekit"]["content"]))
        config["port"] = self.port("livekit", str(config["port"]))
        config["rtc"] |= {"tcp_port": free_port(), "udp_port": free_port()}
        file = self._folder / "livekit.yaml"
        file.write_text(yaml.safe_dump(config))
        assert COMPOSE["services"]["livekit"]["command"] == ["--config", "/livekit.yaml"]
        async with self._running("livekit", [str(binary), "--config", str(file)], {}):
            yield

    @asynccontextmanager
    async def replica(self, name: str) -> AsyncIterator[None]:
        [command] = re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
        here = {"SERVER_PORT": str(self.port(name)), "INVITE_NETWORKS": "127.0.0.0/8"}
        async with self._running(name, yaml.safe_load(command), self._environment(name) | here):
            yield

    @asynccontextmanager
    async def service(self, name: str) -> AsyncIterator[None]:
        environment = self._environment(name)
        here = {"SERVICE_PORT": str(self.port(name, environment["SERVICE_PORT"]))}
        async with self._running(name, COMPOSE["services"][name]["command"], environment | here):
            yield

    def _environment(self, name: str) -> dict[str, str]:
        given = COMPOSE["services"][name]["environment"]
        return {variable: self.filled_in(str(value)) for variable, value in given.items()}

    @asynccontextmanager
    async def _running(self, name: str, command: list[str], environment: dict[str, str]) -> AsyncIterator[None]:
        """The process, killed at the end: another test is about how it stops."""
        log = self._logs[name] = self._folder / f"{name}.log"
        program = sys.executable if command[0] == "python" else command[0]
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                program, *command[1:], cwd=self._folder, env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
                stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip
        self._processes[name] = process
        try:
            yield
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


@pytest.fixture
async def compose_site(tmp_path: Path) -> AsyncIterator[ComposeSite]:
    """All of them, started in the order in which they depend on each other."""
    with prerequisite():
        redis = await asyncio.to_thread(find_or_fetch, "redis")
    livekit = await asyncio.to_thread(find_or_build)
    site = ComposeSite(tmp_path)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(site.redis(redis))
        await stack.enter_async_context(site.livekit(livekit))
        for name in REPLICAS:
            await stack.enter_async_context(site.replica(name))
        for name in SERVICES:
            await stack.enter_async_context(site.service(name))
        yield site


async def asked(site: ComposeSite, replica: str, method: str, path: str, **body: Any) -> tuple[int, Any]:
    """The status of the answer and its JSON; 0: there is none yet."""
    site.check()
    headers = {"Authorization": f"Bearer {site.variables['SESSION_MANAGER_API_KEY']}"}
    try:
        async with (
            aiohttp.ClientSession(f"http://127.0.0.1:{site.port(replica)}", headers=headers) as http,
            http.request(method, path, json=body or None) as answer,
        ):
            return answer.status, await answer.json(content_type=None)
    except aiohttp.ClientConnectionError:
        return 0, site.seen()


async def test_the_services_of_compose_make_a_session_through_each_replica(compose_site: ComposeSite) -> None:
    for replica in REPLICAS:
        body = {"user_identity": "alice", "required_services": list(SERVICES)}

        async def created(replica: str = replica, body: dict[str, Any] = body) -> tuple[int, Any]:
            return await asked(compose_site, replica, "POST", "/api/v1/sessions", **body)

        _, session = await eventually(f"a session of {replica}", created, lambda answer: answer[0] == 201, every=0.5)
        assert session["access_token"]
        assert session["server_url"] == "ws://localhost:7880"
        assert {service["service_id"]: service["state"] for service in session["services"]} == dict.fromkeys(
            SERVICES, "ready"
        )

    async def known() -> set[str]:
        _, health = await asked(compose_site, REPLICAS[0], "GET", "/health")
        return {replica["name"] for replica in health["replicas"]}

    await eventually("both replicas", known, lambda names: names == set(REPLICAS))
