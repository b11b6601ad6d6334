"""A bare aiohttp server that repeats recorded answers: the floor of benchmarks/requests.py.

    python -m benchmarks.bare_api PORT ANSWERS

ANSWERS is a JSON file: method, path, status, headers and body of each answer.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from benchmarks.child import commands


def repeating(answer: Mapping[str, Any]) -> Handler:
    status, headers, body = answer["status"], answer["headers"], answer["body"].encode()

    async def handle(_: web.Request) -> web.Response:
        return web.Response(status=status, headers=headers, body=body)

    return handle


async def serve(port: int, answers: Sequence[Mapping[str, Any]]) -> None:
    """Serve until stdin is closed."""
    app = web.Application()
    app.router.add_routes([web.route(answer["method"], answer["path"], repeating(answer)) for answer in answers])
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    async for _ in commands():
        pass
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())))
