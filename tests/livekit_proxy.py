"""A reverse proxy in front of a livekit-server that can misbehave: it alters, drops, fails or holds single answers of
the server API, or refuses all connections. All else passes through unchanged, WebSockets too.

    async with LiveKitProxy(server.http_url) as proxy:
        ...  # proxy.url (ws://) and proxy.http_url take the place of the server's

        fault = proxy.on("ListParticipants", altered(without_participant("alice")), times=1)
        await fault.applied()

        proxy.on("CreateRoom", hold := Hold())
        await hold.reached()
        hold.release()

        proxy.joins = Hold()  # for the connections of those who join

        await proxy.refuse()  # connections, until `await proxy.accept()`

livekit_faults.py has the behaviors.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self

import aiohttp
from aiohttp import web
from livekit.protocol import agent_dispatch, room
from multidict import CIMultiDict

from scripts.free_ports import free_port
from tests.livekit_faults import Behavior, Call, ConnectionCut, Hold, TwirpError
from tests.waiting import waiting_for

HOP_BY_HOP = {"host", "connection", "upgrade", "content-length", "transfer-encoding"}
METHODS = {
    f"/twirp/{service.full_name}/{method.name}": method
    for module in (room, agent_dispatch)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods_by_name.values()
}
JOINS = "/rtc"
"""How the paths begin to which participants connect."""
SHUTDOWN_TIMEOUT = 0.1
REGISTERS = "session-manager."
"""How the names of the rooms begin that have the process of a deployment that acts."""


def is_about_who_acts(request: Any) -> bool:
    """Whether it is about the room that has the process of a deployment that acts."""
    names = (getattr(request, "name", ""), getattr(request, "room", ""), *getattr(request, "names", ()))
    return any(name.startswith(REGISTERS) for name in names)


def _is_about_sessions(request: Any) -> bool:
    return not is_about_who_acts(request)


@dataclass(eq=False)
class Fault:
    """A behavior for the calls of one method: for the first `times` of them, or until it is lifted."""

    method: str
    behavior: Behavior
    where: Callable[[Any], bool]
    times: float
    begun: int = 0
    ended: int = 0
    _news: asyncio.Condition = field(default_factory=asyncio.Condition, repr=False)

    def is_for(self, call: Call) -> bool:
        return call.method == self.method and self.begun < self.times and self.where(call.request)

    async def answer(self, call: Call) -> Any:
        self.begun += 1
        try:
            return await self.behavior(call)
        finally:
            async with self._news:
                self.ended += 1
                self._news.notify_all()

    async def applied(self, times: int = 1) -> None:
        """Return once it has answered or dropped so many calls."""
        async with waiting_for(f"{times} faulty answers of {self.method}", lambda: self), self._news:
            await self._news.wait_for(lambda: self.ended >= times)

    def lift(self) -> None:
        """Let all later calls pass."""
        self.times = 0


class LiveKitProxy:
    """`upstream`: the http:// URL of the livekit-server."""

    def __init__(self, upstream: str) -> None:
        self._upstream, self._port = upstream.rstrip("/"), free_port()
        self.url, self.http_url = f"ws://127.0.0.1:{self._port}", f"http://127.0.0.1:{self._port}"
        self.calls: list[Call] = []
        """The calls of the server API, in order, without those about who acts."""
        self.joins: Hold | None = None
        """Holds the connections of those who join rooms."""
        self._faults: list[Fault] = []
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(auto_decompress=False, connector=aiohttp.TCPConnector(limit=0))
        await self.accept()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()
        await self._http.close()

    def on(
        self,
        method: str,
        behavior: Behavior,
        *,
        times: float = math.inf,
        where: Callable[[Any], bool] = _is_about_sessions,
    ) -> Fault:
        """Let `behavior` answer the calls of this method whose request is as wanted. The newest such fault applies.
        Managers ask all the time who acts: a fault is for those calls only if `where` says so."""
        fault = Fault(method, behavior, where, times)
        self._faults.insert(0, fault)
        return fault

    def requests(self, method: str) -> list[Any]:
        """The requests of this method so far."""
        return [call.request for call in self.calls if call.method == method]

    async def refuse(self) -> None:
        """Cut all connections and refuse new ones."""
        if self._runner is not None:
            await self._runner.cleanup()
        self._runner = None

    async def accept(self) -> None:
        """Take connections, always on the same port."""
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=SHUTDOWN_TIMEOUT)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except (ConnectionCut, aiohttp.ClientError):  # the latter: LiveKit is not there
            if request.transport is not None:
                request.transport.abort()
            return web.Response()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            if self.joins is not None and request.path.startswith(JOINS):
                await self.joins.wait()
            return await self._pass_websocket(request)
        if request.path in METHODS and request.content_type == "application/protobuf":
            return await self._answer_call(request)
        status, headers, body = await self._forward(request)
        return web.Response(status=status, headers=_end_to_end(headers), body=body)

    async def _answer_call(self, request: web.Request) -> web.Response:
        method = METHODS[request.path]
        result = method.output_type._concrete_class

        async def ask() -> Any:
            status, _, body = await self._forward(request)
            if status != HTTPStatus.OK:
                error = json.loads(body)
                raise TwirpError(status, error["code"], error["msg"])
            return result.FromString(body)

        call = Call(method.name, method.input_type._concrete_class.FromString(await request.read()), ask, result)
        if _is_about_sessions(call.request):
            self.calls.append(call)
        fault = next((fault for fault in self._faults if fault.is_for(call)), None)
        try:
            answer = await (ask() if fault is None else fault.answer(call))
        except TwirpError as error:
            return web.json_response(error.body, status=error.status)
        return web.Response(body=answer.SerializeToString(), content_type="application/protobuf")

    async def _forward(self, request: web.Request) -> tuple[int, Mapping[str, str], bytes]:
        async with self._http.request(
            request.method,
            self._upstream + request.raw_path,
            headers=_end_to_end(request.headers),
            data=await request.read(),
        ) as answer:
            return answer.status, answer.headers, await answer.read()

    async def _pass_websocket(self, request: web.Request) -> web.StreamResponse:
        headers = {
            name: value
            for name, value in _end_to_end(request.headers).items()
            if not name.lower().startswith("sec-websocket")
        }
        url = self._upstream + request.raw_path
        try:
            upstream = await self._http.ws_connect(url, headers=headers, max_msg_size=0, autoping=False)
        except aiohttp.WSServerHandshakeError as error:
            return web.Response(status=error.status)
        client = web.WebSocketResponse(max_msg_size=0, autoping=False)
        try:
            await client.prepare(request)
        except ConnectionResetError:  # the client has gone meanwhile
            await upstream.close()
            return client
        passing = [asyncio.create_task(_pass(client, upstream)), asyncio.create_task(_pass(upstream, client))]
        try:
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in passing:
                task.cancel()
            await asyncio.wait(passing)
            await upstream.close()
        return client


Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def _pass(source: Socket, target: Socket) -> None:
    """Pass every frame on, until either side closes."""
    async for message in source:
        match message.type:
            case aiohttp.WSMsgType.TEXT:
                await target.send_str(message.data)
            case aiohttp.WSMsgType.BINARY:
                await target.send_bytes(message.data)
            case aiohttp.WSMsgType.PING:
                await target.ping(message.data)
            case aiohttp.WSMsgType.PONG:
                await target.pong(message.data)
    await target.close(code=source.close_code or aiohttp.WSCloseCode.OK)


def _end_to_end(headers: Mapping[str, str]) -> CIMultiDict[str]:
    kept = [(name, value) for name, value in headers.items() if name.lower() not in HOP_BY_HOP]
    return CIMultiDict(kept)
