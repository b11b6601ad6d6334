"""Send the same request to an HTTP server repeatedly. Runs as a separate process of other benchmarks.

    python -m benchmarks.flood <port> <request> <clients> <pause> <seconds>

Each client has its own connection. It sends the request, waits for the response, and after `pause` seconds sends it
again. At the end it prints one line of JSON: the figures of the responses (Figures) by status.
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
    """Number and latencies of responses with one status; in milliseconds."""

    count: int
    p50: float
    p99: float
    most: float

    @classmethod
    def of(cls, waits: Sequence[float]) -> Figures:
        return cls(len(waits), percentile(waits, 50), percentile(waits, 99), max(waits))


async def client(port: int, request: bytes, pause: float, until: float, waits: Waits) -> None:
    """Send requests until the instant `until` of the monotonic clock, but at least one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    asked = time.monotonic()
    while True:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = LENGTH.search(head)
        await reader.readexactly(int(length[1]) if length else 0)
        waits.setdefault(int(head[9:12]), []).append(1_000 * (time.monotonic() - asked))
        await asyncio.sleep(pause)
        asked = time.monotonic()
        if asked >= until:
            break
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
