"""Checks of our own side: the port, whoever serves on it, and whether LiveKit's webhooks get there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from ipaddress import ip_address

from aiohttp import web
from yarl import URL

from http_api.client import ApiError, Client, Unreachable
from http_api.doctor.finding import Finding, ok, wrong
from http_api.protocol.bodies import read_bytes
from http_api.resources.webhooks import BODY_MAX
from http_api.server import CannotListen, listen
from http_api.settings.settings import Settings
from manager_agent.livekit.webhooks import UnreadableWebhook, UnsignedWebhook, read_webhook, signed_digest

PORT, SESSIONS, WEBHOOKS = "port", "sessions", "webhooks"
PATH = "/livekit/webhook"
ARRIVAL_TIMEOUT = 5.0
HEALTH_TIMEOUT, PROOF_TIMEOUT = 3.0, 15.0


def own_url(settings: Settings) -> URL:
    """Where this machine reaches what serves with these settings. PURE."""
    host = settings.server_host
    try:
        unspecified = ip_address(host).is_unspecified
    except ValueError:
        unspecified = False
    return URL.build(scheme="http", host="127.0.0.1" if unspecified else host, port=settings.server_port)


async def running(settings: Settings) -> tuple[Finding, bool]:
    """Who has the port, and whether it is a session manager that serves."""
    url = own_url(settings)
    try:
        async with Client(str(url), timeout=HEALTH_TIMEOUT, max_wait=0) as client:
            health = await client.health()
    except (ApiError, Unreachable):
        try:
            listen(settings.server_host, settings.server_port).close()
        except CannotListen as error:
            return wrong(PORT, str(error), "End what has it, or set SERVER_PORT."), False
        return ok(PORT, f"{settings.server_port} is free: no session manager runs"), False
    says = f"a session manager {health.version} serves at {url}"
    if health.manager_agent != "registered":
        mend = "See its log: it can't register with LiveKit."
        return wrong(PORT, f"{says}, but its manager agent is not registered", mend), True
    return ok(PORT, says), True


async def proven(settings: Settings, key: str) -> list[Finding]:
    """Has the session manager that runs prove that sessions can be had, and say whether webhooks came. `key` is what
    it takes for a proof of who asks."""
    try:
        async with Client(str(own_url(settings)), key, timeout=PROOF_TIMEOUT, max_wait=0) as client:
            proof = await client.proof()
    except (ApiError, Unreachable) as error:
        return [wrong(SESSIONS, str(error), "See the session manager's log.")]
    found = ok(SESSIONS, f"one was had in {proof.took_ms} ms")
    return [found, ok(WEBHOOKS, "they arrive") if proof.webhooks == "arrived" else none_came(settings)]


def none_came(settings: Settings) -> Finding:
    return wrong(
        WEBHOOKS,
        "none came for a room that was made: what happens in rooms is noticed seconds late",
        f"`webhook.urls` in livekit.yaml must have http://<this machine>:{settings.server_port}{PATH}, and "
        "livekit-server must be able to reach it.",
    )


class Listener:
    """Takes LiveKit's webhooks in the place of a session manager that does not run."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        secret = settings.livekit_api_secret.get_secret_value()
        self._key, self._secret = settings.livekit_api_key, secret
        self._rooms: set[str] = set()
        self._is_forged = False
        self._news = asyncio.Condition()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Raises CannotListen."""
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
        """Whether a webhook about this room comes, or has come."""
        try:
            async with asyncio.timeout(ARRIVAL_TIMEOUT), self._news:
                await self._news.wait_for(lambda: room in self._rooms or self._is_forged)
        except TimeoutError:
            return none_came(self._settings)
        if room in self._rooms:
            return ok(WEBHOOKS, "they arrive")
        return wrong(
            WEBHOOKS,
            "they arrive, signed with another key",
            "`webhook.api_key` in livekit.yaml must be LIVEKIT_API_KEY.",
        )

    async def _receive(self, request: web.Request) -> web.Response:
        async with self._news:
            try:
                digest = signed_digest(request.headers.get("Authorization", ""), self._key, self._secret)
                self._rooms.add(read_webhook(await read_bytes(request, BODY_MAX), digest).room.name)
            except (UnsignedWebhook, UnreadableWebhook):
                self._is_forged = True
            self._news.notify_all()
        return web.Response(status=HTTPStatus.OK)
