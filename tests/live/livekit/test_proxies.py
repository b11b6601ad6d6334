"""A server and a service of the kit in processes of their own, with a proxy in their environment."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from scripts.free_ports import free_port
from scripts.repository import ROOT
from tests.forward_proxy import ForwardProxy
from tests.live.conftest import Site
from tests.livekit_fronts import slow_tls
from tests.processes import ended
from tests.waiting import eventually, waiting_for

pytestmark = pytest.mark.live

SERVICE = """
from service_kit import Service
service = Service("kit", type="BOT")

@service.on_invite
async def work(job):
    await job.join()
    await job.say_ready()
    await job.ended()

service.run()
"""
LOCAL = "127.0.0.1,localhost"


@asynccontextmanager
async def running(*arguments: str, **environment: str) -> AsyncIterator[None]:
    """A Python process with these arguments, and no other proxy in its environment."""
    inherited = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, cwd=ROOT, env=inherited | environment, stdin=asyncio.subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        await ended(process, " ".join(arguments))


async def session_in_processes(site: Site, **environment: str) -> None:
    """Create a session with a service in such processes: it becomes ready, and its manager answers in the room."""
    port = free_port()
    url = f"http://localhost:{port}"
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession(url))
        server = {"SERVER_PORT": str(port), "LIVEKIT_SERVER_URL": site.livekit.url, "LOG_LEVEL": "info"} | environment
        await stack.enter_async_context(running("-m", "http_api", "--dev", **server))
        await stack.enter_async_context(running("-c", SERVICE, SESSION_MANAGER_URL=url, **environment))
        async with waiting_for("the service and the manager agent", lambda: None):
            while not await _is_up(http):
                await asyncio.sleep(0.05)
        body = {"user_identity": "alice", "required_services": ["kit"]}
        async with http.post("/api/v1/sessions", json=body) as answer:
            assert answer.status == 201, await answer.text()
            session = await answer.json()

        async def deep_check() -> int:
            async with http.get("/health?deep=true") as answer:
                return answer.status

        await eventually("a deep check", deep_check, lambda status: status == 200)  # a busy machine may need two
        await http.delete(f"/api/v1/sessions/{session['session_id']}")  # or the service would drain for long


async def _is_up(http: aiohttp.ClientSession) -> bool:
    try:
        async with http.get("/readyz") as ready, http.get("/api/v1/microservices/kit") as kit:
            return ready.status == kit.status == 200
    except aiohttp.ClientError:
        return False


@pytest.mark.parametrize("lower", [False, True])
async def test_with_no_proxy_every_connection_is_direct(silent_site: Site, lower: bool) -> None:
    async with ForwardProxy() as proxy:
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        environment = dict.fromkeys(names, proxy.url) | {"NO_PROXY": LOCAL}
        if lower:
            environment = {name.lower(): value for name, value in environment.items()}
        await session_in_processes(silent_site, **environment)
        assert proxy.passed == []


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_with_a_proxy_the_api_the_agent_and_every_participant_go_through_it(silent_site: Site, name: str) -> None:
    async with ForwardProxy() as proxy:
        await session_in_processes(silent_site, **{name: proxy.url})
        livekit = f"127.0.0.1:{silent_site.livekit.port}"
        ways = {line.partition("?")[0] for line in proxy.passed if livekit in line}
        assert any("twirp" in way for way in ways), ways
        assert any(way.endswith("/agent") for way in ways), ways
        participants = [line for line in proxy.passed if line == f"CONNECT {livekit}"]
        assert len(participants) >= 4, "two managers, a service and the participant of the probe"
        assert any("/api/v1/microservices" in line for line in proxy.passed), "the kit registers"


async def test_a_proxy_for_other_schemes_is_not_used(silent_site: Site) -> None:
    """livekit-agents would use HTTPS_PROXY for ws too."""
    await session_in_processes(silent_site, HTTPS_PROXY="http://127.0.0.1:1")


@pytest.mark.parametrize("no_proxy", ["localhost", "localhost, 127.0.0.0/8"])
async def test_a_wss_url_goes_through_https_proxy_unless_exempt(
    silent_site: Site, tmp_path: Path, no_proxy: str
) -> None:
    async with slow_tls(silent_site.livekit.port, 0.0, tmp_path) as (url, _), ForwardProxy() as proxy:
        await session_in_processes(
            silent_site,
            LIVEKIT_SERVER_URL=url,
            SSL_CERT_FILE=str(tmp_path / "certificate.pem"),
            HTTPS_PROXY=proxy.url,
            HTTP_PROXY="http://127.0.0.1:1",  # not for wss
            NO_PROXY=no_proxy,
        )
        assert set(proxy.passed) <= {f"CONNECT {url.removeprefix('wss://')}"}
        if "," in no_proxy:
            assert proxy.passed == []
        else:
            assert len(proxy.passed) >= 6, "the API, the agent server, two managers, a service and the probe"
