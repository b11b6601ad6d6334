"""deploy/proxies/: the real nginx and Caddy, with TLS, in front of an API."""

from __future__ import annotations

import asyncio
import os
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from structlog.testing import capture_logs

from http_api.settings.settings import Settings
from scripts.free_ports import free_port
from scripts.proxy_servers import PROGRAMS, find_or_fetch
from scripts.repository import ROOT
from tests.api.stand_ins import Api, StartApi
from tests.api.streams.feed_reader import Readers
from tests.certificates import Certificates
from tests.prerequisites import prerequisite
from tests.processes import ended
from tests.tenants import ACME, production
from tests.waiting import waiting_for

pytestmark = pytest.mark.api

PROXIES = ROOT / "deploy/proxies"
CLIENT = "127.0.0.2"
"""Another address than the proxy's, which is 127.0.0.1."""
NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/session-manager.conf;
}}
"""
"""What Debian's /etc/nginx/nginx.conf is for, without its paths."""
CADDY = """
{
	admin off
	auto_https disable_redirects
}
"""


def replaced(text: str, **changes: str) -> str:
    """The text with other values; each must be in it."""
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return text


def nginx_command(folder: Path, port: int, upstream: int, certificates: Certificates) -> Sequence[str | Path]:
    own = {
        "127.0.0.1:8080": f"127.0.0.1:{upstream}",
        "listen 443": f"listen 127.0.0.1:{port}",
        "/etc/ssl/private/sessions.example.com.pem": str(certificates.certificate),
        "/etc/ssl/private/sessions.example.com.key": str(certificates.key),
    }
    (folder / "session-manager.conf").write_text(replaced((PROXIES / "nginx.conf").read_text(), **own))
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder))
    return "-e", "stderr", "-p", folder, "-c", folder / "nginx.conf"


def caddy_command(folder: Path, port: int, upstream: int, certificates: Certificates) -> Sequence[str | Path]:
    site = f"https://127.0.0.1:{port} {{\n\ttls {certificates.certificate} {certificates.key}"
    own = {"reverse_proxy 127.0.0.1:8080": f"reverse_proxy 127.0.0.1:{upstream}", "sessions.example.com {": site}
    (folder / "Caddyfile").write_text(CADDY + replaced((PROXIES / "Caddyfile").read_text(), **own))
    return "run", "--adapter", "caddyfile", "--config", folder / "Caddyfile"


COMMANDS: dict[str, Callable[[Path, int, int, Certificates], Sequence[str | Path]]] = {
    "nginx": nginx_command,
    "caddy": caddy_command,
}


@pytest.fixture
async def behind(start_api: StartApi) -> Api:
    return await start_api(Settings, **production(trusted_proxies="127.0.0.1/32"))


@pytest.fixture(params=PROGRAMS)
async def proxied(request: pytest.FixtureRequest, behind: Api, tmp_path: Path) -> AsyncIterator[Api]:
    """The API through a proxy, called from CLIENT."""
    with prerequisite():
        program = find_or_fetch(request.param)
    certificates, port = Certificates(tmp_path / "certificates"), free_port()
    command = COMMANDS[request.param](tmp_path, port, behind.port, certificates)
    connector = aiohttp.TCPConnector(ssl=certificates.client_context(), local_addr=(CLIENT, 0))
    log = (tmp_path / "proxy.log").read_text
    async with (
        running(program, command, tmp_path) as process,
        aiohttp.ClientSession(f"https://127.0.0.1:{port}", connector=connector, headers=ACME.proof) as http,
    ):
        async with waiting_for(f"{program.name} in front of the API", log):
            while not await answers(http):
                assert process.returncode is None, log()
                await asyncio.sleep(0.05)
        through = replace(behind, http=http)
        through.app = behind.app
        yield through


async def answers(http: aiohttp.ClientSession) -> bool:
    """Whether the API answers through the proxy."""
    with suppress(aiohttp.ClientConnectionError):
        async with http.get("/readyz") as answer:
            return answer.status == 200
    return False


@asynccontextmanager
async def running(program: Path, arguments: Sequence[str | Path], folder: Path) -> AsyncIterator[Process]:
    """The proxy, with its files in this folder."""
    home = {name: str(folder) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
    with (folder / "proxy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program, *arguments, env=os.environ | home, cwd=folder, stdin=asyncio.subprocess.DEVNULL,
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await ended(process, program.name, (folder / "proxy.log").read_text)


async def test_requests_pass_with_the_address_of_the_client(proxied: Api) -> None:
    lies = {"X-Forwarded-For": "203.0.113.1", "Forwarded": "for=203.0.113.2"}
    with capture_logs() as log:
        status, _, body = await proxied.ask("GET", "/sessions", headers=lies)
        async with waiting_for("the request in the log", lambda: log):
            while not (told := [entry for entry in log if entry.get("path") == "/api/v1/sessions"]):
                await asyncio.sleep(0.01)
    assert (status, body["sessions"]) == (200, [])
    assert [entry["remote"] for entry in told] == [CLIENT]


async def test_a_stream_passes_event_by_event(proxied: Api) -> None:
    readers = Readers(proxied)
    try:
        feed = await readers.reader()
        assert (await feed.next())[0] == "snapshot"
        await proxied.register("asr-service")
        async with waiting_for("the event of the registration", lambda: feed.told):
            assert (await feed.until("service"))["service_id"] == "asr-service"
    finally:
        readers.close()


async def test_refusals_of_the_api_pass_unchanged(proxied: Api) -> None:
    status, headers, body = await proxied.ask("GET", "/sessions/ses_unknown")
    assert status == 404
    assert headers["Content-Type"] == "application/problem+json"
    assert body["status"] == 404
