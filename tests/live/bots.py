"""A service that a test drives: it takes invites and does nothing else unless a method is called."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

import aiohttp
from aiohttp import web
from livekit import rtc

from manager_agent.livekit.room_connection import connect, disconnect
from manager_agent.messages import TOPIC, Invite, SessionEndedMessage
from scripts.free_ports import free_port
from tests.leak_scanner import LEAK_SCANNER
from tests.waiting import waiting_for

QUIETLY = rtc.RoomOptions(auto_subscribe=False)
CONNECT_TIMEOUT = 60.0
NOT_LISTENING = {
    rtc.RpcError.ErrorCode.UNSUPPORTED_METHOD,
    rtc.RpcError.ErrorCode.RECIPIENT_NOT_FOUND,
    rtc.RpcError.ErrorCode.CONNECTION_TIMEOUT,
}
ANSWER_LOST = {rtc.RpcError.ErrorCode.RESPONSE_TIMEOUT, rtc.RpcError.ErrorCode.RECIPIENT_DISCONNECTED}
"""A manager that is cut from LiveKit may still hear a call. Its answer is lost with it."""


class Bot:
    """One service, listening on its own port. `answers` is the status of its answers to invites."""

    def __init__(self, service_id: str, type: str = "BOT") -> None:
        self.service_id, self.type = service_id, type
        self.answers = 200
        self.invites: list[Invite] = []
        self.session_ended_messages: list[SessionEndedMessage] = []
        self.headers: list[dict[str, str]] = []
        """Of every message received, in order; names in lower case."""
        self.room = rtc.Room()
        self.heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._news = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        self._rooms: list[rtc.Room] = []

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/", self._receive)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        port = free_port()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.endpoint = f"http://127.0.0.1:{port}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        for room in self._rooms:
            await disconnect(room)
        if self._runner is not None:
            await self._runner.cleanup()

    def __repr__(self) -> str:
        return f"<Bot {self.service_id} [{len(self.invites)} invites, {len(self.session_ended_messages)} ends]>"

    def registration(self, **more: Any) -> dict[str, Any]:
        return {"service_id": self.service_id, "endpoint": self.endpoint, "metadata": {"type": self.type}, **more}

    async def invited(self, times: int = 1) -> Invite:
        """The latest invite, once so many have come."""
        async with waiting_for(f"{times} invites of {self.service_id}", lambda: self.invites), self._news:
            await self._news.wait_for(lambda: len(self.invites) >= times)
        return self.invites[-1]

    async def told_goodbye(self) -> SessionEndedMessage:
        async with waiting_for(f"the session-ended message to {self.service_id}", lambda: self), self._news:
            await self._news.wait_for(lambda: bool(self.session_ended_messages))
        return self.session_ended_messages[-1]

    async def join(self, invite: Invite | None = None) -> None:
        invite = invite or self.invites[-1]
        self.room = rtc.Room()
        self._rooms.append(self.room)
        self.room.on("data_received", lambda packet: self.heard.put_nowait(json.loads(packet.data)))
        await connect(self.room, invite.server_url, invite.token or "", QUIETLY, CONNECT_TIMEOUT)

    async def leave(self) -> None:
        await disconnect(self.room)

    async def say_by_rpc(
        self, payload: str = '{"type": "ready"}', *, to: Callable[[], str | None] | None = None
    ) -> dict[str, Any]:
        """Send an RPC, again while the manager is not listening yet. Raises the rtc.RpcError of a manager that is, or
        that of a service that is out of the room.

        `to`: the manager's identity now, if it may be another one than that of the invite. It may be replaced during
        the call, which is then made again."""
        errors, call_again = [0], NOT_LISTENING | ANSWER_LOST if to else NOT_LISTENING
        async with waiting_for("an answer of the manager", lambda: f"RPC error {errors[-1]}"):
            while True:
                manager = (to() if to else self.invites[-1].manager_identity) or ""
                try:
                    answer = await self.room.local_participant.perform_rpc(
                        destination_identity=manager,
                        method=TOPIC,
                        payload=payload,
                        response_timeout=3,
                        max_round_trip_latency=1,
                    )
                except rtc.RpcError as error:
                    if error.code not in call_again or not self.room.isconnected():
                        raise
                    errors.append(error.code)
                    await asyncio.sleep(0.05)
                else:
                    said: dict[str, Any] = json.loads(answer)
                    return said

    async def say_failed(self, detail: str) -> None:
        """It is removed at once, perhaps before it is answered."""
        with suppress(rtc.RpcError):
            await self.say_by_rpc(json.dumps({"type": "failed", "detail": detail}))

    async def say_by_data(self, payload: bytes | None = None, **fields: str) -> None:
        """Send a data message as documented; `fields` replace its fields, `payload` the whole message."""
        invite = self.invites[-1]
        message = {"type": "ready", "service_id": self.service_id, "invite_id": invite.id} | fields
        await self.room.local_participant.publish_data(
            payload if payload is not None else json.dumps(message).encode(),
            reliable=True,
            topic=TOPIC,
            destination_identities=[invite.manager_identity or ""],
        )

    async def say_by_attribute(self, value: str = "ready") -> None:
        await self.room.local_participant.set_attributes({"session.state": value})

    async def say_by_http(self, http: aiohttp.ClientSession, *, token: str | None = None) -> aiohttp.ClientResponse:
        invite = self.invites[-1]
        return await http.post(
            f"/api/v1/sessions/{invite.session.session_id}/ready",
            json={"service_id": self.service_id},
            headers={"Authorization": f"Bearer {token or invite.token}"},
        )

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.text()
        async with self._news:
            self.headers.append({name.lower(): value for name, value in request.headers.items()})
            if json.loads(body)["event"] == "session_ended":
                self.session_ended_messages.append(SessionEndedMessage.model_validate_json(body))
            else:
                self.invites.append(Invite.model_validate_json(body))
                LEAK_SCANNER.invite(self.invites[-1])
            self._news.notify_all()
        return web.Response(status=self.answers)
