"""An HTTP server in a child process of a benchmark (child.py)."""

from __future__ import annotations

from aiohttp import web

from benchmarks.child import commands


async def served_until_closed(app: web.Application, port: int) -> None:
    """Serve on 127.0.0.1 until stdin is closed."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    async for _ in commands():
        pass
    await runner.cleanup()
