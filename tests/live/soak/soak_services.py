"""The services of the sessions: one that signals by HTTP, quickly, and one made with the service kit."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Self

import aiohttp
from aiohttp import web
from livekit import rtc

from scripts.free_ports import free_port
from service_kit.service import Service
from service_kit.session_job import SessionJob, SessionJobEnded
from service_kit.settings import ServiceSettings

QUICK, JOINING = "QUICK", "JOINING"
"""Types."""


class QuickService:
    """Signals ready by HTTP once it is invited. It joins no room."""

    def __init__(self, service_id: str, manager_url: str) -> None:
        self.service_id, self._manager_url = service_id, manager_url
        self.port, self.is_crashed = free_port(), False
        self._tasks: set[asyncio.Task[None]] = set()
        self._runner: web.AppRunner | None = None
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(self._manager_url)
        app = web.Application()
        app.router.add_post("/", self._receive)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None and self._http is not None:
            await self._runner.cleanup()
            await self._http.close()

    def registration(self) -> dict[str, Any]:
        endpoint = f"http://127.0.0.1:{self.port}/"
        return {
            "service_id": self.service_id,
            "endpoint": endpoint,
            "metadata": {"type": QUICK},
            "ready_on": "signal",
        }

    async def _receive(self, request: web.Request) -> web.Response:
        if self.is_crashed:
            return web.Response(status=500)
        message = await request.json()
        if message["event"] == "session_invited":
            task = asyncio.create_task(self._signal(message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return web.Response()

    async def _signal(self, invite: dict[str, Any]) -> None:
        assert self._http is not None
        path = f"/api/v1/sessions/{invite['session']['session_id']}/ready"
        headers = {"Authorization": f"Bearer {invite['token']}"}
        with suppress(aiohttp.ClientError):
            async with self._http.post(path, json={"service_id": self.service_id}, headers=headers):
                pass


def joining_service() -> Service:
    """Joins and signals ready by RPC."""
    service = Service("joining", type=JOINING, lease=None)

    @service.on_invite
    async def join(job: SessionJob) -> None:
        with suppress(SessionJobEnded, TimeoutError, rtc.ConnectError):  # the session may be over by then
            await job.join(rtc.RoomOptions(auto_subscribe=False))
            await job.say_ready()
            await job.ended()

    return service


def settings_of(manager_url: str) -> ServiceSettings:
    return ServiceSettings(_env_file=None, session_manager_url=manager_url)
