"""A client's back end that receives callbacks: a server on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Self

from aiohttp import web
from livekit import api

from tests.leak_scanner import LEAK_SCANNER
from tests.waiting import waiting_for

Answer = Callable[[dict[str, Any]], Awaitable[int]]


class CallbackReceiver:
    """Answers 200, or with the next of `answers`; or as `answer` says, which is given the event."""

    def __init__(self, *answers: int, answer: Answer | None = None, location: str = "") -> None:
        self.posts: list[tuple[str, str]] = []
        """Body and Authorization of each."""
        self.headers: list[dict[str, str]] = []
        self._answers, self._answer, self._location = list(answers), answer, location
        self._news = asyncio.Condition()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._receive)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port: int = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}/sessions?word=a-word-of-the-clients"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def __repr__(self) -> str:
        return f"<CallbackReceiver {self.events}>"

    @property
    def told(self) -> list[dict[str, Any]]:
        """The bodies, one for each try."""
        return [json.loads(body) for body, _ in self.posts]

    @property
    def events(self) -> list[str]:
        return [said["event"] for said in self.told]

    async def tries(self, number: int) -> None:
        """Return once there were so many posts. Raises AssertionError with the events received."""
        async with waiting_for(f"{number} posts to the receiver", lambda: self.events), self._news:
            await self._news.wait_for(lambda: len(self.posts) >= number)

    def believes(self, key: str, secret: str) -> bool:
        """Whether LiveKit's SDK accepts the signature of every post with this key and secret."""
        receiver = api.WebhookReceiver(api.TokenVerifier(key, secret))
        for body, authorization in self.posts:
            try:
                event = receiver.receive(body, authorization)
            except Exception:  # the SDK's own, and those of the JWT library
                return False
            assert (event.event, event.id) == (json.loads(body)["event"], json.loads(body)["id"])
        return True

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.text()
        LEAK_SCANNER.text("callback", request.path, body)
        async with self._news:
            self.posts.append((body, request.headers["Authorization"]))
            self.headers.append(dict(request.headers))
            self._news.notify_all()
        if self._answer is not None:
            status = await self._answer(json.loads(body))
        else:
            status = self._answers.pop(0) if self._answers else 200
        headers = {"Location": self._location} if self._location else {}
        return web.Response(status=status, headers=headers)
