"""What benchmarks need of a session manager with one service: its environment, the service's endpoint, its tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import aiohttp
from aiohttp import web
from livekit import api

from benchmarks.child import START_TIMEOUT
from scripts.free_ports import free_port

KEY, SECRET = "devkey", "secret"
SERVICE_ID = "benchmark-service"
POLL_INTERVAL = 0.2
TIMEOUT = 15.0
"""Seconds. A room that is not open by then is an error; a join that is not noticed by then counts as never noticed."""


def environment(livekit_url: str, port: int) -> dict[str, str]:
    return {"LIVEKIT_SERVER_URL": livekit_url, "SERVER_PORT": str(port), "LOG_LEVEL": "info"}


@asynccontextmanager
async def listening(receive: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[str]:
    """Serve the endpoint of a service, or of another receiver of POST requests. Yields its URL."""
    app, port = web.Application(), free_port()
    app.router.add_post("/", receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{port}/"
    finally:
        await runner.cleanup()


async def registered(http: aiohttp.ClientSession, endpoint: str, ready_on: str = "join") -> None:
    """Wait until the session manager is ready, and register the service."""
    metadata = {"type": "BENCHMARK"}
    service = {"service_id": SERVICE_ID, "endpoint": endpoint, "ready_on": ready_on, "metadata": metadata}
    async with asyncio.timeout(START_TIMEOUT):
        while True:
            with suppress(aiohttp.ClientConnectionError):
                async with http.get("/readyz") as ready:
                    if ready.ok:
                        break
            await asyncio.sleep(POLL_INTERVAL)
        async with http.post("/api/v1/microservices/register", json=service, raise_for_status=True):
            pass


def token(room: str, identity: str, *, hidden: bool) -> str:
    grants = api.VideoGrants(room_join=True, room=room, hidden=hidden)
    return api.AccessToken(KEY, SECRET).with_identity(identity).with_kind("agent").with_grants(grants).to_jwt()
