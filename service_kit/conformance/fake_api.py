"""The manager's HTTP API as far as a service calls it: register, heartbeat, deregister, and `POST .../ready`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Self

from aiohttp import web

HttpReady = Callable[[str, str], bool]
"""Called with the session id and bearer token of a `POST .../ready`; returns whether it is acknowledged."""


class FakeApi:
    """A server that records every call. An async context manager; it can be stopped and restarted on its port."""

    def __init__(self, *answers: int, api_key: str | None = None, ready: HttpReady | None = None) -> None:
        """`answers`: the statuses of the next registrations, then 201. `api_key`: calls with another key get 401; None:
        no key is needed. `ready`: decides about `POST .../ready`; None: such calls get 503."""
        self.answers = list(answers)
        self.beat_answers: list[int] = []
        """The statuses of the next heartbeats, then 200."""
        self.registrations: list[dict[str, Any]] = []
        self.beats: list[dict[str, Any]] = []
        self.beat_endpoints: list[str] = []
        self.removed: list[str] = []
        self.removed_endpoints: list[str] = []
        self.proofs: set[str | None] = set()
        """The Authorization headers of all calls about the service."""
        self._proof = None if api_key is None else f"Bearer {api_key}"
        self._ready = ready
        self.news = asyncio.Condition()
        """Notified after each call about the service."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} [{len(self.registrations)} registrations, {len(self.removed)} removed]>"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self, port: int = 0, host: str | None = "127.0.0.1") -> None:
        """Listen on `port`, or on any free port if 0; `host` None means all addresses. Raises OSError."""
        app = web.Application()
        app.router.add_post("/api/v1/microservices/register", self._register)
        app.router.add_post("/api/v1/microservices/{service_id}/heartbeat", self._beat)
        app.router.add_delete("/api/v1/microservices/{service_id}", self._remove)
        app.router.add_post("/api/v1/sessions/{session_id}/ready", self._say_ready)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError:
            await self.stop()
            raise
        self.port: int = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _register(self, request: web.Request) -> web.Response:
        self.registrations.append(await _body(request))
        return await self._answer(request, self.answers.pop(0) if self.answers else HTTPStatus.CREATED)

    async def _beat(self, request: web.Request) -> web.Response:
        self.beats.append(await _body(request))
        self.beat_endpoints.append(request.query.get("endpoint", ""))
        return await self._answer(request, self.beat_answers.pop(0) if self.beat_answers else HTTPStatus.OK)

    async def _remove(self, request: web.Request) -> web.Response:
        self.removed.append(request.match_info["service_id"])
        self.removed_endpoints.append(request.query.get("endpoint", ""))
        return await self._answer(request, HTTPStatus.OK)

    async def _answer(self, request: web.Request, status: int) -> web.Response:
        proof = request.headers.get("Authorization")
        self.proofs.add(proof)
        async with self.news:
            self.news.notify_all()
        if self._proof not in (None, proof):
            status = HTTPStatus.UNAUTHORIZED
        return web.json_response({"detail": "the answer of a fake manager"}, status=status)

    async def _say_ready(self, request: web.Request) -> web.Response:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        heard = self._ready is not None and self._ready(request.match_info["session_id"], token)
        return web.json_response({}, status=HTTPStatus.OK if heard else HTTPStatus.SERVICE_UNAVAILABLE)


async def _body(request: web.Request) -> dict[str, Any]:
    """Raises HTTPBadRequest."""
    try:
        body = json.loads(await request.read() or b"{}")
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="the body is not a JSON object")
    return body
