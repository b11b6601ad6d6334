"""One part of the benchmark of log shipping, in a process of its own: a collector for each behavior, good and bad.

    python -m benchmarks.log_collector <behavior>...

What is said, once they listen, is one line of JSON: the port of each. Then, for each line that is read, another one:
how many log entries each has taken.
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

from benchmarks.child import say, told
from http_api.observability.shipping.formats import otlp_of

SLOW = 1.0
"""Seconds that the slow one takes for a batch."""
BODY_MAX = 100 * 1024 * 1024

Behavior = Callable[[web.Request], Awaitable[web.StreamResponse]]
"""Answers every request."""


async def hang(_: web.Request) -> web.Response:
    """Never answers: backpressure."""
    await asyncio.Event().wait()
    raise AssertionError


async def reset(request: web.Request) -> web.Response:
    """Breaks the connection."""
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
    """Takes everything and only counts it, since what reading costs is not what is measured."""

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
    """Listens while inside; gives the port."""
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
        async for _ in told():
            say(json.dumps({name: taken[name] for name in ports}))


if __name__ == "__main__":
    asyncio.run(main())
