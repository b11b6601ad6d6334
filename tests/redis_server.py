"""A real redis-server, or valkey-server, for tests.

The fixture `redis_server` is one that the tests of a worker share: each gets a deployment of its own, and leaves the
server as it is. `own_redis_server` belongs to one test, which may stop, freeze and empty it. What is tested logs in
there as a user with the rights that docs/settings.md names; the tests' own commands may do more.

A busy machine gets as much time as it needs: only from a server that is frozen does no answer come in time.
"""

from __future__ import annotations

import re
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any, Self

import pytest
from redis.asyncio import Redis

from http_api.limits import shared_rates
from manager_agent.records import redis as records
from manager_agent.redis import changelog, connection, primary
from manager_agent.replicas import membership
from scripts.free_ports import free_port
from scripts.redis_server import find_or_fetch
from scripts.repository import ROOT
from tests.certificates import Certificates
from tests.prerequisites import prerequisite

START_TIMEOUT = 20.0
POLL_INTERVAL = 0.005
LINES_SHOWN = 15
PATIENCE = 60.0
"""Seconds that whatever uses Redis waits for it."""
PATIENCE_WHILE_FROZEN = 2.0
BOUNDS = (
    (connection, "CONNECT_TIMEOUT"),
    (connection, "ANSWER_TIMEOUT"),
    (primary, "GUIDE_TIMEOUT"),
    (changelog, "CAUGHT_UP_WITHIN"),
    (records, "PATIENCE"),
    (shared_rates, "PATIENCE"),
    (membership, "LEAVE_TIMEOUT"),
)
"""Where it is said how long that is."""

ACL_LINE = re.compile(r"^ACL SETUSER (?P<name>\S+) on >\S+ (?P<rights>.+)$", re.MULTILINE)
"""In docs/settings.md."""
DEPLOYMENT_SHOWN = "<DEPLOYMENT>"
LIMITED = "limited"
"""The user with the documented rights."""
LIMITED_PASSWORD = secrets.token_hex(16)
"""Its password. No word: tests search for secrets wherever there may be none."""

Setting = str | int
"""The value of a line of redis.conf."""


class RedisServer:
    """A process on 127.0.0.1: a context manager, or call start() and stop(), repeatedly. It keeps its port."""

    def __init__(
        self,
        folder: Path,
        *,
        username: str = "",
        password: str = "",
        rights: str = "~* &* +@all",
        tls: Certificates | None = None,
        is_limited: bool = False,
        persists: bool = False,
        watches: str = "",
        **settings: Setting,
    ) -> None:
        """`folder`: for its files and its log. `username`: of an ACL user with these `rights`; without it, the password
        is the default user's. `is_limited`: its url is of a user with the documented rights. `persists`: restart()
        finds what was written. `watches`: makes it a sentinel, with these lines. `settings`: lines of redis.conf, with
        _ for -."""
        self.port = free_port()
        self.deployment = f"test-{secrets.token_hex(4)}"
        """For the keys of one test."""
        self._folder = folder / f"redis-{self.port}"
        self._folder.mkdir(parents=True)
        self.log = self._folder / "log"
        self._username, self._password, self._rights, self._tls = username, password, rights, tls
        self._is_limited, self._watches = is_limited, watches
        self._process: subprocess.Popen[bytes] | None = None
        self._config = self._folder / "redis.conf"
        self._config.write_text(self._lines(persists, settings))

    def __repr__(self) -> str:
        return f"<RedisServer {self.port} [{f'pid {self._process.pid}' if self._process else 'stopped'}]>"

    @property
    def login(self) -> str:
        """user:password@ of a URL, if any."""
        if self._is_limited:
            return f"{LIMITED}:{LIMITED_PASSWORD}@"
        return f"{self._username}:{self._password}@" if self._password else ""

    @property
    def query(self) -> str:
        """The options of a URL, if any."""
        return f"?ssl_ca_certs={self._tls.authority}" if self._tls else ""

    @property
    def url(self) -> str:
        return f"redis{'s' if self._tls else ''}://{self.login}127.0.0.1:{self.port}/0{self.query}"

    def client(self) -> Redis:
        """A client of redis-py: an async context manager."""
        return Redis(
            host="127.0.0.1",
            port=self.port,
            username=self._username or None,
            password=self._password or None,
            ssl=self._tls is not None,
            ssl_ca_certs=str(self._tls.authority) if self._tls else None,
            protocol=2,
        )

    async def command(self, *words: str | bytes | float) -> Any:
        """The answer of the server to one command, as it sends it."""
        async with self.client() as client:
            client.response_callbacks.clear()
            return await client.execute_command(*words)  # type: ignore[no-untyped-call]

    # -- its life --------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it answers. Takes some hundredths of a second, and blocks."""
        program = str(find_or_fetch())
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [program, str(self._config), *(["--sentinel"] if self._watches else [])],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                process_group=0,  # Ctrl-C does not end it before the tests that use it
            )
        try:
            self._await_answer(self._process)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it, as by a failure of its machine: without a farewell."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def restart(self) -> None:
        """Without `persists` it is empty then."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Let it take connections, which the system does, but answer nothing. What is asked meanwhile fails soon."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        wait_for_redis(PATIENCE_WHILE_FROZEN)

    def thaw(self) -> None:
        assert self._process is not None
        wait_for_redis(PATIENCE)
        self._process.send_signal(signal.SIGCONT)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def flush(self) -> None:
        """Empty it."""
        await self.command("FLUSHALL")

    async def saved(self) -> list[tuple[bytes, bytes]]:
        """Everything that it has."""
        keys = sorted(await self.command("KEYS", "*"))
        dumped = [(key, await self.command("DUMP", key)) for key in keys]
        return [(key, content) for key, content in dumped if content is not None]  # it may expire meanwhile

    async def go_back_to(self, saved: list[tuple[bytes, bytes]]) -> None:
        """Have again what it had, in one step."""
        async with self.client() as client, client.pipeline() as pipeline:
            pipeline.flushall()
            for key, content in saved:
                pipeline.restore(key, 0, content)
            await pipeline.execute()

    async def limit_memory(self, limit: int = 1) -> None:
        """Refuse what needs more memory than this many bytes; 0: there is no limit."""
        await self.command("CONFIG", "SET", "maxmemory", limit)

    async def disturb(self, chance: Random) -> None:
        """Once in ten times, fail: by a restart, by being emptied, or from now on for lack of memory, or not any
        more."""
        match chance.randrange(30):
            case 0:
                self.restart()
            case 1:
                await self.flush()
            case 2:
                await self.limit_memory(chance.choice([0, 1]))

    def _await_answer(self, process: subprocess.Popen[bytes]) -> None:
        """Until PING is answered, if only by an error: that a login is needed, but not that data is being loaded."""
        give_up_at = time.monotonic() + START_TIMEOUT
        while time.monotonic() < give_up_at and process.poll() is None:
            if (answer := self._pinged()) and b"LOADING" not in answer:
                return
            time.sleep(POLL_INTERVAL)
        end = "\n".join(self.log.read_text(errors="replace").splitlines()[-LINES_SHOWN:])
        raise RuntimeError(f"redis-server on port {self.port} did not start; the end of {self.log}:\n{end}")

    def _pinged(self) -> bytes:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as plain:
                if self._tls is None:
                    return _ping(plain)
                with self._tls.client_context().wrap_socket(plain, server_hostname=self._tls.host) as encrypted:
                    return _ping(encrypted)
        except OSError:
            return b""

    # -- its configuration -----------------------------------------------------------------------------------

    def _lines(self, persists: bool, settings: Mapping[str, Setting]) -> str:
        lines: dict[str, Setting] = {
            "bind": "127.0.0.1",
            "dir": str(self._folder),
            "daemonize": "no",
            "logfile": '""',
        }
        if self._tls:
            lines |= {"port": 0, "tls-port": self.port, "tls-auth-clients": "no", "tls-replication": "yes"}
            lines |= {"tls-cluster": "yes"} if "cluster_enabled" in settings else {}
            lines |= {"tls-cert-file": str(self._tls.certificate), "tls-key-file": str(self._tls.key)}
            lines |= {"tls-ca-cert-file": str(self._tls.authority)}
        else:
            lines["port"] = self.port
        if not self._watches:
            lines |= {"save": '""', "appendonly": "yes" if persists else "no", "appendfsync": "always"}
            lines["repl-diskless-sync-delay"] = 0
            lines |= {"user": f"{self._username} on >{self._password} {self._rights}"} if self._username else {}
            limited = f"{LIMITED} on >{LIMITED_PASSWORD} {documented_rights()}"
            lines |= {"user": limited} if self._is_limited else {}
            lines |= {"requirepass": self._password} if self._password and not self._username else {}
        lines |= {name.replace("_", "-"): value for name, value in settings.items()}
        text = "".join(f"{name} {value}\n" for name, value in lines.items())
        return text + self._watches + ("user default off\n" if self._username else "")


def documented_rights(deployment: str = "*") -> str:
    """Of the ACL user that docs/settings.md proposes for this deployment, or for all of them."""
    found = ACL_LINE.search((ROOT / "docs" / "settings.md").read_text())
    assert found is not None
    return found["rights"].replace(DEPLOYMENT_SHOWN, deployment)


def _ping(connection: socket.socket) -> bytes:
    connection.sendall(b"PING\r\n")
    return connection.recv(100)


def wait_for_redis(seconds: float) -> None:
    """Let this process wait so long for Redis, whatever it asks."""
    for module, name in BOUNDS:
        setattr(module, name, seconds)


@pytest.fixture(autouse=True)
def patience_with_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in BOUNDS:
        monkeypatch.setattr(module, name, PATIENCE)


@pytest.fixture(scope="session")
def shared_redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    require_redis()
    with RedisServer(tmp_path_factory.mktemp("redis"), is_limited=True) as server:
        yield server


@pytest.fixture
def redis_server(shared_redis_server: RedisServer) -> RedisServer:
    """One that other tests use too, with a deployment of this test."""
    if not shared_redis_server.is_running:
        shared_redis_server.restart()
    shared_redis_server.deployment = f"test-{secrets.token_hex(4)}"
    return shared_redis_server


@pytest.fixture
def own_redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """One of this test alone. It keeps nothing over a restart."""
    require_redis()
    with RedisServer(tmp_path, is_limited=True) as server:
        yield server


def require_redis() -> None:
    """Skip the test where there is no redis-server; in CI it fails."""
    with prerequisite():
        find_or_fetch()
