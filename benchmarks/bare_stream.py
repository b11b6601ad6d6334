"""A bare aiohttp server of event streams: the floor of benchmarks/waiters.py.

    python -m benchmarks.bare_stream PORT

All who ask for `/` are sent what is posted there, from then on.
"""

from __future__ import annotations

import asyncio
import sys

from aiohttp import web

from benchmarks.child import commands

HEADERS = {"Content-Type": "text/event-stream"}


class BareStreams:
    def __init__(self) -> None:
        self._next = asyncio.get_running_loop().create_future()

    async def follow(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        await response.write(b": here\r\n\r\n")
        while True:
            await response.write(await asyncio.shield(self._next))

    async def tell(self, request: web.Request) -> web.Response:
        told, self._next = self._next, asyncio.get_running_loop().create_future()
        told.set_result(await request.read())
        return web.Response()


async def serve(port: int) -> None:
    """Serve until stdin is closed."""
    app, streams = web.Application(), BareStreams()
    app.router.add_get("/", streams.follow)
    app.router.add_post("/", streams.tell)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=4_096).start()
    async for _ in commands():
        pass
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
