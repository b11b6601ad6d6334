"""One part of the benchmark of log shipping, in a process of its own: a collector for each behaviour, good and bad.

    python -m benchmarks.log_collector <behaviour>...

What is said, once they listen, is one line of JSON: the port of each. Then, for each line that is read, another one:
how many log entries each has taken.
"""

from __future__ import annotations

import asyncio
import json
import sys
import zlib
from collections import Counter
from contextlib import AsyncExitStack

from aiohttp import web
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from benchmarks.child import say, told
from http_api.observability.shipping.formats import otlp_of
from tests.vector_stand_in import Behaviour, VectorStandIn, answering, hang, reset

SLOW = 1.0
"""Seconds that the slow one takes for a batch."""
BEHAVIOURS = {
    "hanging": hang,
    "resetting": reset,
    "refusing, 503": answering(503),
    "refusing, 400": answering(400),
}


def counting(taken: Counter[str], name: str, pause: float = 0.0) -> Behaviour:
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


async def main() -> None:
    taken: Counter[str] = Counter()
    behaviours = BEHAVIOURS | {
        "good": counting(taken, "good"),
        "good, otlp": counting(taken, "good, otlp"),
        "slow": counting(taken, "slow", SLOW),
    }
    async with AsyncExitStack() as stack:
        ports = {}
        for name in sys.argv[1:]:
            collector = await stack.enter_async_context(VectorStandIn())
            collector.behaviour = behaviours[name]
            ports[name] = collector.port
        say(json.dumps(ports))
        async for _ in told():
            say(json.dumps({name: taken[name] for name in ports}))


if __name__ == "__main__":
    asyncio.run(main())
