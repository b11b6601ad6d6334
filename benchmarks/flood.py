"""One part of the overload benchmark, in a process of its own: asks an HTTP server the same thing again and again.

    python -m benchmarks.flood <port> <request> <clients> <pause> <seconds>

So many clients, with a connection each, send the request, wait for the answer, and after `pause` seconds send it again.
What is said at the end is one line of JSON: by status, the figures of the answers (Figures).
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks.child import READY, say
from benchmarks.measuring import percentile

LENGTH = re.compile(rb"^content-length: *(\d+)", re.IGNORECASE | re.MULTILINE)

Waits = dict[int, list[float]]


@dataclass(frozen=True, slots=True)
class Figures:
    """The answers of one status; times in milliseconds."""

    count: int
    p50: float
    p99: float
    most: float

    @classmethod
    def of(cls, waits: Sequence[float]) -> Figures:
        return cls(len(waits), percentile(waits, 50), percentile(waits, 99), max(waits))


async def client(port: int, request: bytes, pause: float, until: float, waits: Waits) -> None:
    """Asks until that instant of the monotonic clock."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while (asked := time.monotonic()) < until:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = LENGTH.search(head)
        await reader.readexactly(int(length[1]) if length else 0)
        waits.setdefault(int(head[9:12]), []).append(1_000 * (time.monotonic() - asked))
        await asyncio.sleep(pause)
    writer.close()


async def main() -> None:
    port, request, clients, pause, seconds = sys.argv[1:]
    waits, until = Waits(), time.monotonic() + float(seconds)
    say(READY)
    asking = (client(int(port), request.encode(), float(pause), until, waits) for _ in range(int(clients)))
    await asyncio.gather(*asking)
    say(json.dumps({status: asdict(Figures.of(waits[status])) for status in waits}))


if __name__ == "__main__":
    asyncio.run(main())
