"""The manager as a service sees it over HTTP: it takes registrations, and posts signed invites and farewells."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Self

import aiohttp
from aiohttp import web
from livekit import api
from pydantic import SecretStr

from manager_agent.messages import Invite, InvitedSession, SessionEndedMessage
from manager_agent.session.session import ReadyOn
from service_kit import ServiceSettings

KEY, SECRET = "invite-key", "invite-secret-of-thirty-two-bytes-or-more"


class ManagerStandIn:
    """Listens on a port of its own. `answers` are the statuses of the next registrations; after them, 201.
    `beat_answers` are those of the next heartbeats; after them, 200."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.beat_answers: list[int] = []
        self.registrations: list[dict[str, Any]] = []
        self.proofs: set[str | None] = set()
        """The Authorization headers of all calls."""
        self.beats: list[dict[str, Any]] = []
        self.removed: list[str] = []
        self.beat_endpoints: list[str] = []
        self.removed_endpoints: list[str] = []
        self._news = asyncio.Condition()

    async def __aenter__(self) -> Self:
        await self.start()
        self.http = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()
        await self.stop()

    def __repr__(self) -> str:
        return f"<ManagerStandIn [{len(self.registrations)} registrations, {len(self.removed)} removed]>"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self, port: int = 0) -> None:
        app = web.Application()
        app.router.add_post("/api/v1/microservices/register", self._register)
        app.router.add_post("/api/v1/microservices/{service_id}/heartbeat", self._beat)
        app.router.add_delete("/api/v1/microservices/{service_id}", self._remove)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.port: int = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()

    def settings(self, **more: Any) -> ServiceSettings:
        """Those of a service that belongs to this manager."""
        secret = SecretStr(SECRET)
        return ServiceSettings(
            _env_file=None, session_manager_url=self.url, invite_api_key=KEY, invite_api_secret=secret, **more
        )

    async def post(
        self, endpoint: str, message: Invite | SessionEndedMessage | bytes, authorization: str | None = None
    ) -> int:
        """Sends a message, signed unless told otherwise; the status of the answer."""
        body = message if isinstance(message, bytes) else message.model_dump_json().encode()
        headers = {"Content-Type": "application/webhook+json"}
        headers["Authorization"] = signature(body) if authorization is None else authorization
        async with self.http.post(endpoint, data=body, headers=headers) as answer:
            return answer.status

    async def until(self, wanted: Callable[[], bool]) -> None:
        """Returns once what has come is as wanted."""
        async with asyncio.timeout(10), self._news:
            await self._news.wait_for(wanted)

    async def _register(self, request: web.Request) -> web.Response:
        self.registrations.append(await request.json())
        status = self.answers.pop(0) if self.answers else HTTPStatus.CREATED
        return await self._answer(request, status)

    async def _beat(self, request: web.Request) -> web.Response:
        self.beats.append(await request.json())
        self.beat_endpoints.append(request.query["endpoint"])
        return await self._answer(request, self.beat_answers.pop(0) if self.beat_answers else HTTPStatus.OK)

    async def _remove(self, request: web.Request) -> web.Response:
        self.removed.append(request.match_info["service_id"])
        self.removed_endpoints.append(request.query["endpoint"])
        return await self._answer(request, HTTPStatus.OK)

    async def _answer(self, request: web.Request, status: int) -> web.Response:
        self.proofs.add(request.headers.get("Authorization"))
        async with self._news:
            self._news.notify_all()
        return web.json_response({"detail": "as the test wants it"}, status=status)


def signature(body: bytes, *, key: str = KEY, secret: str = SECRET, lifetime: timedelta = timedelta(minutes=5)) -> str:
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    return api.AccessToken(key, secret).with_sha256(digest).with_ttl(lifetime).to_jwt()


def invite(service_id: str = "asr-service", *, id: str = "inv_1", **more: Any) -> Invite:
    """An invite to a room that does not exist, unless `more` says better."""
    fields: dict[str, Any] = {
        "id": id,
        "createdAt": "1766400000",
        "session": invited_session(),
        "service_id": service_id,
        "attempt": 1,
        "identity": f"sm-{service_id}-1",
        "token": "a.join.token",
        "server_url": "ws://127.0.0.1:1",
        "manager_identity": "sm-manager-1",
        "ready_on": ReadyOn.SIGNAL,
        "ready_deadline": datetime.now(UTC) + timedelta(seconds=30),
    }
    return Invite(**fields | more)


def session_ended(to: Invite, reason: str = "closed") -> SessionEndedMessage:
    return SessionEndedMessage(
        id=f"{to.id}_end",
        createdAt=to.createdAt,
        session=to.session,
        service_id=to.service_id,
        attempt=to.attempt,
        identity=to.identity,
        reason=reason,
    )


def invited_session(session_id: str = "session-1", room_name: str = "room-1", **metadata: Any) -> InvitedSession:
    return InvitedSession(session_id=session_id, room_name=room_name, user_identity="alice", metadata=metadata)
