"""What people put in front of livekit-server: a reverse proxy that serves it below a path, and a far, slow TLS end."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import aiohttp
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from http_api.connections import close_server

PATH = "/livekit"
HOP_BY_HOP = frozenset({"connection", "host", "transfer-encoding", "content-length", "upgrade"})


@asynccontextmanager
async def below_a_path(livekit_url: str) -> AsyncIterator[str]:
    """A reverse proxy that serves this livekit-server below PATH, as nginx does with `location /livekit/`. Gives the
    http URL of its root. What is not below PATH, or has a second slash, is not found."""
    async with aiohttp.ClientSession() as http:

        async def forward(request: web.Request) -> web.StreamResponse:
            rest = request.rel_url.raw_path.removeprefix(PATH)
            if rest.startswith("//"):
                raise web.HTTPNotFound
            headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP}
            url = livekit_url.replace("ws", "http", 1) + str(request.rel_url).removeprefix(PATH)
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await _forward_socket(http, request, url, headers)
            async with http.request(request.method, url, data=await request.read(), headers=headers) as answer:
                return web.Response(
                    status=answer.status, body=await answer.read(), headers={"Content-Type": answer.content_type}
                )

        app = web.Application()
        app.router.add_route("*", PATH + "/{rest:.*}", forward)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


async def _forward_socket(
    http: aiohttp.ClientSession, request: web.Request, url: str, headers: dict[str, str]
) -> web.StreamResponse:
    own = {k: v for k, v in headers.items() if not k.lower().startswith("sec-websocket")}
    async with http.ws_connect(url, headers=own) as upstream:
        downstream = web.WebSocketResponse()
        await downstream.prepare(request)
        ways = {
            asyncio.create_task(_pass(downstream, upstream)),
            asyncio.create_task(_pass(upstream, downstream)),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
        await downstream.close()
        return downstream


async def _pass(
    source: aiohttp.ClientWebSocketResponse | web.WebSocketResponse,
    target: aiohttp.ClientWebSocketResponse | web.WebSocketResponse,
) -> None:
    async for message in source:
        if message.type is aiohttp.WSMsgType.BINARY:
            await target.send_bytes(message.data)
        elif message.type is aiohttp.WSMsgType.TEXT:
            await target.send_str(message.data)


@asynccontextmanager
async def slow_tls(port: int, seconds: float, folder: Path) -> AsyncIterator[tuple[str, ssl.SSLContext]]:
    """A TLS end in front of this port of 127.0.0.1, whose handshake takes so many seconds. Gives its wss URL, and a
    context that trusts its certificate."""
    certificate = _certificate(folder)
    serving, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=certificate)
    serving.load_cert_chain(certificate)
    async with _relay(port, 0.0, serving) as tls_port, _relay(tls_port, seconds) as slow_port:
        yield f"wss://127.0.0.1:{slow_port}", trusting


@asynccontextmanager
async def _relay(to_port: int, seconds: float, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Passes connections on to a port of 127.0.0.1, each after so many seconds. Gives its own port."""
    connections: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        writers = [writer]
        with suppress(OSError, asyncio.CancelledError):
            await asyncio.sleep(seconds)
            upstream, to_upstream = await asyncio.open_connection("127.0.0.1", to_port)
            writers.append(to_upstream)
            await asyncio.gather(_pump(reader, to_upstream), _pump(upstream, writer))
        for each in writers:
            each.transport.abort()
        connections.discard(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        await close_server(server)
        for connection in connections:
            connection.cancel()
        if connections:
            await asyncio.wait(connections)


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await source.read(65_536):
            target.write(chunk)
            await target.drain()
    target.close()


def _certificate(folder: Path) -> Path:
    """A file with a new certificate of 127.0.0.1 and its key."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "certificate.pem"
    file.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return file
