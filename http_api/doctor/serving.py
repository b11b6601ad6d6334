"""Checks of our own side: the port, the session manager on it, and whether LiveKit's webhooks arrive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from ipaddress import ip_address

from aiohttp import web
from yarl import URL

from http_api.doctor.finding import Finding, ok, wrong
from http_api.listening import CannotListen, listen
from http_api.protocol.bodies import read_bytes
from http_api.settings.settings import Settings
from manager_agent.livekit.webhooks import SIZE_MAX, UnreadableWebhook, UnsignedWebhook, read_webhook, signed_digest
from manager_agent.proxy_rule import proxy_rule
from session_manager_client import ApiError, Client, Unreachable

PORT, SESSIONS, WEBHOOKS = "port", "sessions", "webhooks"
PATH = "/livekit/webhook"
ARRIVAL_TIMEOUT = 5.0
HEALTH_TIMEOUT, PROOF_TIMEOUT = 3.0, 15.0


def own_url(settings: Settings) -> URL:
    """The URL at which this machine reaches a session manager with these settings. PURE."""
    host = settings.server_host
    try:
        unspecified = ip_address(host).is_unspecified
    except ValueError:
        unspecified = False
    return URL.build(scheme="http", host="127.0.0.1" if unspecified else host, port=settings.server_port)


def _client(settings: Settings, timeout: float, key: str | None = None) -> Client:
    """A client of the session manager with these settings on this machine."""
    return Client(str(own_url(settings)), key, timeout=timeout, max_wait=0, proxy=proxy_rule().of)


async def check_port(settings: Settings) -> tuple[Finding, bool]:
    """What uses the port, and whether that is a running session manager."""
    url = own_url(settings)
    try:
        async with _client(settings, HEALTH_TIMEOUT) as client:
            health = await client.health()
    except (ApiError, Unreachable):
        try:
            listen(settings.server_host, settings.server_port).close()
        except CannotListen as error:
            return wrong(PORT, str(error), "Stop the program that uses it, or set SERVER_PORT."), False
        return ok(PORT, f"{settings.server_port} is free: no session manager is running"), False
    says = f"session manager {health.version} is running at {url}"
    if health.manager_agent != "registered":
        mend = "See its log for why it can't register with LiveKit."
        return wrong(PORT, f"{says}, but its manager agent is not registered", mend), True
    return ok(PORT, says), True


async def check_deep_health(settings: Settings, key: str) -> list[Finding]:
    """Ask the running session manager for a deep health check: whether sessions work and webhooks arrive. `key` is the
    API key or token to authenticate with."""
    try:
        async with _client(settings, PROOF_TIMEOUT, key) as client:
            proof = await client.proof()
    except (ApiError, Unreachable) as error:
        return [wrong(SESSIONS, str(error), "See the session manager's log.")]
    found = ok(SESSIONS, f"a test session took {proof.took_ms} ms")
    return [found, ok(WEBHOOKS, "they arrive") if proof.webhooks == "arrived" else no_webhooks(settings)]


def no_webhooks(settings: Settings) -> Finding:
    return wrong(
        WEBHOOKS,
        "none arrived for a test room: changes in rooms are noticed seconds late",
        f"`webhook.urls` in livekit.yaml must contain http://<this machine>:{settings.server_port}{PATH}, and "
        "livekit-server must be able to reach it.",
    )


class Listener:
    """Receives LiveKit's webhooks while no session manager is running."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        secret = settings.livekit_api_secret.get_secret_value()
        self._key, self._secret = settings.livekit_api_key, secret
        self._rooms: set[str] = set()
        self._is_forged = False
        self._news = asyncio.Condition()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Inside, listen on the session manager's port. Raises CannotListen."""
        app = web.Application()
        app.router.add_post(PATH, self._receive)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.SockSite(runner, listen(self._settings.server_host, self._settings.server_port)).start()
            yield
        finally:
            await runner.cleanup()

    async def arrived(self, room: str) -> Finding:
        """Wait for a webhook about this room, which may already be there."""
        try:
            async with asyncio.timeout(ARRIVAL_TIMEOUT), self._news:
                await self._news.wait_for(lambda: room in self._rooms or self._is_forged)
        except TimeoutError:
            return no_webhooks(self._settings)
        if room in self._rooms:
            return ok(WEBHOOKS, "they arrive")
        return wrong(
            WEBHOOKS,
            "they arrive, but signed with another key",
            "Set `webhook.api_key` in livekit.yaml to LIVEKIT_API_KEY.",
        )

    async def _receive(self, request: web.Request) -> web.Response:
        async with self._news:
            try:
                digest = signed_digest(request.headers.get("Authorization", ""), self._key, self._secret, time.time())
                self._rooms.add(read_webhook(await read_bytes(request, SIZE_MAX), digest).room.name)
            except (UnsignedWebhook, UnreadableWebhook):
                self._is_forged = True
            self._news.notify_all()
        return web.Response(status=HTTPStatus.OK)
