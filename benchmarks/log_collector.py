"""Collectors with good and bad behavior. Runs as a separate process of the log shipping benchmark.

    python -m benchmarks.log_collector <behavior>...

Once they listen, it prints one line of JSON with their ports. Then it responds to each line on stdin with another line:
the number of log entries that each has accepted.
"""

from __future__ import annotations

import asyncio
import json
import sys
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp import web
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from benchmarks.child import commands, say
from http_api.observability.shipping.formats import otlp_of

SLOW = 1.0
"""Seconds that the slow collector takes for a batch."""
BODY_MAX = 100 * 1024 * 1024

Behavior = Callable[[web.Request], Awaitable[web.StreamResponse]]
"""Handles every request."""


async def hang(_: web.Request) -> web.Response:
    """Never respond: backpressure."""
    await asyncio.Event().wait()
    raise AssertionError


async def reset(request: web.Request) -> web.Response:
    """Abort the connection."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def answering(status: int) -> Behavior:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status)

    return answer


BEHAVIORS = {
    "hanging": hang,
    "resetting": reset,
    "refusing, 503": answering(503),
    "refusing, 400": answering(400),
}


def counting(taken: Counter[str], name: str, pause: float = 0.0) -> Behavior:
    """Accept all batches and only count their entries, because the collector's own cost is not measured."""

    async def take(request: web.Request) -> web.Response:
        body = zlib.decompress(await request.read(), wbits=31) if request.can_read_body else b""
        await asyncio.sleep(pause)
        taken[name] += _records(body) if request.content_type == otlp_of({}).content_type else body.count(b"\n")
        return web.Response()

    return take


def _records(body: bytes) -> int:
    return sum(
        len(scope.log_records)
        for resource in ExportLogsServiceRequest.FromString(body).resource_logs
        for scope in resource.scope_logs
    )


@asynccontextmanager
async def collector(behavior: Behavior) -> AsyncIterator[int]:
    """Listen within the block. Yields the port."""
    app = web.Application(client_max_size=BODY_MAX)
    app.router.add_route("*", "/{path:.*}", behavior)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, auto_decompress=False, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def main() -> None:
    taken: Counter[str] = Counter()
    behaviors = BEHAVIORS | {
        "good": counting(taken, "good"),
        "good, otlp": counting(taken, "good, otlp"),
        "slow": counting(taken, "slow", SLOW),
    }
    async with AsyncExitStack() as stack:
        ports = {name: await stack.enter_async_context(collector(behaviors[name])) for name in sys.argv[1:]}
        say(json.dumps(ports))
        async for _ in commands():
            say(json.dumps({name: taken[name] for name in ports}))


if __name__ == "__main__":
    asyncio.run(main())
