"""GuardedHttpClient against real servers on loopback: what is dialed, and what is read."""

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from manager_agent.clock import SteadyClock
from manager_agent.livekit.server_api import Rooms
from manager_agent.outbound.address_policy import LOOPBACK, PRIVATE, AddressPolicy, Network
from manager_agent.outbound.fair_slots import SlotBounds
from manager_agent.outbound.http_client import DeliveryFailed, GuardedHttpClient, is_this_machine
from manager_agent.outbound.invites import InviteError, Inviter
from manager_agent.outbound.lookups import Lookups
from manager_agent.session.events import Refusal
from manager_agent.session.identities import Identities
from tests.unit.sessions import a_service, a_session, after, invited
from tests.unit.waits import never
from tests.waiting import waiting_for

pytestmark = pytest.mark.unit

METADATA_SERVER = "169.254.169.254"
SAID = "what-the-service-said"
"""Part of answers that must not appear in a log."""
HEADERS = {"Content-Type": "application/webhook+json"}
MUCH = 32 * 1024 * 1024
"""Bytes; far more than the buffers of a connection hold."""
NEVER = 600.0
"""Seconds; longer than any test may take."""
UNLIMITED = aiohttp.ClientTimeout(total=NEVER)

Post = Callable[..., Awaitable[int]]
Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable["LoopbackServer"]]
ServeRaw = Callable[[Callable[[asyncio.StreamWriter], Awaitable[None]]], Awaitable[str]]


@dataclass
class LoopbackServer:
    """A server on loopback, and the requests that it got."""

    url: str
    port: int
    requests: list[web.Request] = field(default_factory=list)


@dataclass
class Resolver(AbstractResolver):
    """Gives the next list of addresses at each lookup; the last one from then on."""

    answers: list[list[str]]
    lookups: int = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = self.answers[min(self.lookups, len(self.answers) - 1)]
        self.lookups += 1
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None: ...


@asynccontextmanager
async def a_client(
    *resolved: list[str], networks: tuple[Network, ...] = LOOPBACK, own_port: int = 1, **timeouts: Any
) -> AsyncIterator[GuardedHttpClient]:
    """A started client. Host names resolve to each of `resolved` in turn."""
    address_policy = AddressPolicy(networks=networks, own_port=own_port, is_own=is_this_machine)
    http_client = GuardedHttpClient(address_policy, resolver=Resolver(list(resolved)) if resolved else None, **timeouts)
    await http_client.start()
    try:
        yield http_client
    finally:
        await http_client.aclose()


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    async with a_client() as http_client:
        yield lambda url, body=b"{}": http_client.deliver(url, body, HEADERS)


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a server that answers every request with one handler."""
    async with AsyncExitStack() as stack:

        async def start(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> LoopbackServer:
            async def record(request: web.BaseRequest) -> web.StreamResponse:
                assert isinstance(request, web.Request)
                service.requests.append(request)
                return await handler(request)

            app = web.Application()
            app.router.add_route("*", "/{path:.*}", record)
            runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            port = runner.addresses[0][1]
            service = LoopbackServer(f"http://127.0.0.1:{port}/", port)
            return service

        yield start


@pytest.fixture
async def serve_raw() -> AsyncIterator[ServeRaw]:
    """Starts a server that answers every connection with raw bytes."""
    async with AsyncExitStack() as stack:

        async def start(answer: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> str:
            async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                try:
                    await reader.readuntil(b"\r\n\r\n")
                    await answer(writer)
                    await writer.drain()
                except (ConnectionError, asyncio.IncompleteReadError):
                    pass
                finally:
                    writer.close()

            server = await asyncio.start_server(connected, "127.0.0.1", 0)
            stack.callback(server.close)
            return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"

        yield start


async def ok(_: web.Request) -> web.Response:
    return web.Response(text=SAID)


async def undelivered(posting: Awaitable[int]) -> str:
    """Why it was not delivered."""
    with pytest.raises(DeliveryFailed) as caught:
        await posting
    assert SAID not in str(caught.value)
    return str(caught.value)


# --- what is dialled ------------------------------------------------------------------------------------


async def test_deliver_returns_the_status_of_the_answer(post: Post, serve: Serve) -> None:
    async def gone(request: web.Request) -> web.Response:
        assert await request.read() == b'{"event": "session_invited"}'
        return web.Response(status=410)

    service = await serve(gone)
    assert await post(service.url, b'{"event": "session_invited"}') == 410
    [request] = service.requests
    assert (request.method, request.content_type) == ("POST", "application/webhook+json")


@pytest.mark.parametrize(
    ("addresses", "why"),
    [
        ([METADATA_SERVER], "link-local"),
        (["::ffff:169.254.169.254"], "link-local"),
        (["10.0.0.1"], "not in an allowed network"),
        (["0.0.0.0"], "unspecified"),
        (["64:ff9b::7f00:1"], "NAT64"),
        (["fe80::1%1"], "zone"),
        (["2130706433"], "not an IP address"),
        (["127.0.0.1.nip.io"], "not an IP address"),
        ([METADATA_SERVER, "fe80::1"], "link-local"),
    ],
)
async def test_a_host_name_that_resolves_to_a_forbidden_address_is_not_dialed(addresses: list[str], why: str) -> None:
    async with a_client(addresses) as http_client:
        said = await undelivered(http_client.deliver("http://asr.example/", b"{}", HEADERS))
    assert said.startswith("not connected: ")
    assert why in said


async def test_of_several_resolved_addresses_only_allowed_ones_are_dialed(serve: Serve) -> None:
    service = await serve(ok)
    async with a_client([METADATA_SERVER, "127.0.0.1", "fe80::1"]) as http_client:
        assert await http_client.deliver(f"http://asr.example:{service.port}/", b"{}", HEADERS) == 200


async def test_a_host_name_that_resolves_differently_later_is_checked_again(serve: Serve) -> None:
    async def close(_: web.Request) -> web.Response:
        return web.Response(headers={"Connection": "close"})

    service = await serve(close)
    async with a_client(["127.0.0.1"], [METADATA_SERVER]) as http_client:
        url = f"http://asr.example:{service.port}/"
        assert await http_client.deliver(url, b"{}", HEADERS) == 200
        assert "link-local" in await undelivered(http_client.deliver(url, b"{}", HEADERS))
    assert len(service.requests) == 1


async def test_localhost_is_checked_when_it_is_dialed(serve: Serve) -> None:
    service = await serve(ok)
    url = f"http://localhost:{service.port}/"
    async with a_client() as http_client:
        assert await http_client.deliver(url, b"{}", HEADERS) == 200
    async with a_client(networks=PRIVATE) as http_client:
        assert "not in an allowed network" in await undelivered(http_client.deliver(url, b"{}", HEADERS))


async def test_the_session_manager_never_dials_its_own_port(serve: Serve) -> None:
    service = await serve(ok)
    async with a_client(own_port=service.port) as http_client:
        for host in ("127.0.0.1", "127.0.0.2", "[::ffff:127.0.0.1]", "localhost"):
            said = await undelivered(http_client.deliver(f"http://{host}:{service.port}/", b"{}", HEADERS))
            assert "the session manager itself" in said
    assert not service.requests


async def test_an_invalid_address_is_not_dialed(post: Post) -> None:
    assert await undelivered(post("http://user@127.0.0.1/")) == ("address refused: should not have a user or password")
    assert await undelivered(post("http://127.1/")) == (
        "address refused: should have an IPv4 address of four decimal numbers"
    )


async def test_deliver_returns_a_redirect_and_does_not_follow_it(post: Post, serve: Serve) -> None:
    elsewhere = await serve(ok)
    for status in (301, 302, 303, 307, 308):

        async def redirect(_: web.Request, status: int = status) -> web.Response:
            return web.Response(status=status, headers={"Location": elsewhere.url})

        service = await serve(redirect)
        assert await post(service.url) == status
    assert not elsewhere.requests


async def test_deliver_ignores_proxies_and_netrc_of_the_environment(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    proxy, service = await serve(ok), await serve(ok)
    netrc = tmp_path_factory.mktemp("home") / ".netrc"
    netrc.write_text("default login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv(name.upper(), proxy.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with a_client() as http_client:
        assert await http_client.deliver(service.url, b"{}", HEADERS) == 200
    assert not proxy.requests
    assert "Authorization" not in service.requests[0].headers


# --- what is read ---------------------------------------------------------------------------------------


async def test_a_connection_is_reused_and_sends_no_cookie_back(serve: Serve) -> None:
    async def cookie(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Set-Cookie": f"x={SAID}; Path=/"})
        await answer.prepare(request)
        await asyncio.sleep(0.02)
        await answer.write(SAID.encode())
        return answer

    service = await serve(cookie)
    async with a_client(["127.0.0.1"], timeout=UNLIMITED, response_timeout=NEVER) as http_client:
        url = f"http://asr.example:{service.port}/"
        assert [await http_client.deliver(url, b"{}", HEADERS) for _ in range(3)] == [200] * 3
    assert len({request.transport for request in service.requests}) == 1
    assert all("Cookie" not in request.headers for request in service.requests)


async def test_only_the_beginning_of_a_huge_answer_is_read(
    serve: Serve,
) -> None:
    written = 0
    gave_up = asyncio.Event()

    async def huge(request: web.Request) -> web.StreamResponse:
        nonlocal written
        answer = web.StreamResponse()
        await answer.prepare(request)
        try:
            while written < 10 * MUCH:
                await answer.write(b"x" * 65_536)
                written += 65_536
        except (ConnectionError, asyncio.CancelledError):
            gave_up.set()
            raise
        return answer

    service = await serve(huge)
    async with a_client(timeout=UNLIMITED, response_timeout=NEVER) as http_client:
        assert await http_client.deliver(service.url, b"{}", HEADERS) == 200
        await gave_up.wait()
    assert written < MUCH


async def test_an_answer_that_trickles_endlessly_does_not_block_the_delivery(serve: Serve) -> None:
    async def trickle(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(status=503)
        await answer.prepare(request)
        while True:
            await answer.write(b"x")
            await asyncio.sleep(0.01)

    service = await serve(trickle)
    async with a_client(timeout=UNLIMITED) as http_client:
        assert await http_client.deliver(service.url, b"{}", HEADERS) == 503


async def test_an_answer_is_not_decompressed(serve: Serve) -> None:
    async def bomb(_: web.Request) -> web.Response:
        return web.Response(body=b"\x1f\x8b not gzip at all", headers={"Content-Encoding": "gzip"})

    service = await serve(bomb)
    async with a_client(timeout=UNLIMITED, response_timeout=NEVER) as http_client:
        assert [await http_client.deliver(service.url, b"{}", HEADERS) for _ in range(2)] == [200, 200]
    assert len({request.transport for request in service.requests}) == 1  # closed, had it been tried
    assert service.requests[0].headers["Accept-Encoding"] == "identity"


async def test_the_status_of_an_answer_counts_even_if_its_body_breaks_off(post: Post, serve_raw: ServeRaw) -> None:
    async def broken(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\nonly this")

    assert await post(await serve_raw(broken)) == 202


async def _silence(writer: asyncio.StreamWriter) -> None:
    await never()


async def _endless_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(f"X-{SAID}: {SAID}\r\n".encode() * 10)
        await writer.drain()
        await asyncio.sleep(0.01)


async def _one_endless_header(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        writer.write(SAID.encode() * 100)
        await writer.drain()
        await asyncio.sleep(0)


async def _endless_continue(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


async def _no_http(writer: asyncio.StreamWriter) -> None:
    writer.write(f"{SAID}\r\n\r\n".encode())


async def _bad_status(writer: asyncio.StreamWriter) -> None:
    writer.write(f"HTTP/1.1 {SAID} OK\r\n\r\n".encode())


async def _nothing(writer: asyncio.StreamWriter) -> None: ...


@pytest.mark.parametrize(
    "answer",
    [_silence, _endless_headers, _one_endless_header, _endless_continue, _no_http, _bad_status, _nothing],
)
async def test_an_invalid_or_endless_answer_ends_in_time_and_is_not_quoted(
    answer: Callable[[asyncio.StreamWriter], Awaitable[None]], serve_raw: ServeRaw
) -> None:
    url = await serve_raw(answer)
    async with a_client(timeout=aiohttp.ClientTimeout(total=0.5)) as http_client:
        said = await undelivered(http_client.deliver(url, b"{}", HEADERS))
    assert said.isidentifier()


async def test_a_failed_connection_is_reported_in_the_words_of_the_system(post: Post, serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert "not connected: Connect call failed" in await undelivered(post(f"http://127.0.0.1:{port}/"))
    plain = await serve(ok)
    assert "not connected: " in await undelivered(post(plain.url.replace("http:", "https:")))


# --- the invite -----------------------------------------------------------------------------------------


async def test_an_invite_to_a_forbidden_address_is_unreachable_and_not_final() -> None:
    address_policy = AddressPolicy(networks=PRIVATE, own_port=1, is_own=is_this_machine)
    url, key, secret = "ws://localhost:7880", "devkey", "secret"
    rooms = Rooms(url=url, services_url=url, agent_name="m", deployment="d", api_key=key, api_secret=secret)
    inviter = Inviter(
        rooms=rooms,
        identities=Identities(secret),
        clock=SteadyClock(),
        address_policy=address_policy,
        api_key=key,
        api_secret=secret,
    )
    session = after(a_session(a_service("x", "ASR", endpoint=f"http://{METADATA_SERVER}/")), *invited(0))
    await inviter.start()
    with pytest.raises(InviteError) as caught:
        await inviter.invite(session, 0)
    await inviter.aclose()
    assert (caught.value.why, caught.value.final) == (Refusal.UNREACHABLE, False)
    assert str(caught.value).startswith(f"address refused: {METADATA_SERVER} is never called, ")
    assert caught.value.public_detail is not None
    assert "INVITE_NETWORKS" in caught.value.public_detail


# --- connections that the other side closes --------------------------------------------------------------


@dataclass
class ClosingServer:
    """Answers the first request of each connection and does `then` when another one comes on it."""

    then: bytes | None
    connections: int = 0
    requests: int = 0
    port: int = 0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        for nth in itertools.count():
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            await reader.readexactly(2)
            assert head.startswith(b"POST / ")
            self.requests += 1
            if nth:
                if self.then is None:
                    writer.transport.abort()
                else:
                    writer.write(self.then)
                break
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()


@asynccontextmanager
async def a_closing_server(then: bytes | None) -> AsyncIterator[ClosingServer]:
    closing = ClosingServer(then)
    async with await asyncio.start_server(closing.connected, "127.0.0.1", 0) as server:
        closing.port = server.sockets[0].getsockname()[1]
        yield closing


TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("then", [None, b"", TOO_LATE], ids=["reset", "closed", "408"])
async def test_reused_connection_that_is_closed_is_replaced_by_a_new_one(post: Post, then: bytes | None) -> None:
    async with a_closing_server(then) as server:
        statuses = [await post(f"http://127.0.0.1:{server.port}/") for _ in range(2)]
    assert (statuses, server.connections, server.requests) == ([200, 200], 2, 3)


async def test_connection_that_is_closed_at_its_first_request_is_not_tried_again(
    post: Post, serve_raw: ServeRaw
) -> None:
    connections: list[asyncio.StreamWriter] = []

    async def close(writer: asyncio.StreamWriter) -> None:
        connections.append(writer)

    assert await undelivered(post(await serve_raw(close))) == "ServerDisconnectedError"
    assert len(connections) == 1


async def test_host_name_is_looked_up_for_each_owner_apart(serve: Serve) -> None:
    """Another owner that asks for the same name at that moment, and may look up no more, fails alone."""
    service, released, asked = await serve(ok), threading.Event(), list[str]()

    def resolve(host: str, port: int, *_: Any) -> list[Any]:
        asked.append(host)
        if host.startswith("slow"):
            released.wait(30)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    policy = AddressPolicy(networks=LOOPBACK, own_port=1, is_own=is_this_machine)
    bounds = SlotBounds(in_all=8, per_owner=1, per_target=1, waiting_per_owner=2)
    http_client = GuardedHttpClient(policy, resolver=Lookups(bounds=bounds, timeout=20.0, resolve=resolve))
    await http_client.start()

    def deliver(owner: str, host: str) -> asyncio.Task[int]:
        delivering = http_client.deliver(f"http://{host}:{service.port}/", b"{}", HEADERS, owner=owner)
        return asyncio.create_task(delivering)

    try:
        hanging = deliver("rival", "slow.example")
        async with waiting_for("the lookup that hangs", lambda: asked):
            while not asked:
                await asyncio.sleep(0.001)
        waiting = deliver("rival", "asr.example")
        await asyncio.sleep(0)
        acme = [deliver("acme", "asr.example") for _ in range(3)]
        assert await asyncio.gather(*acme) == [200] * 3
        assert asked == ["slow.example", "asr.example"]
        assert not waiting.done()
    finally:
        released.set()
        await asyncio.gather(hanging, waiting, return_exceptions=True)
        await http_client.aclose()
