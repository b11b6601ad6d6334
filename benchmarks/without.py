"""The session manager without some of what it does for each request: benchmarks/requests.py shows what each part costs.

python -m benchmarks.without "access line" metrics
"""

from __future__ import annotations

import sys
from typing import Any
from unittest.mock import patch

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from http_api.__main__ import run
from http_api.admission import admit
from http_api.routes import OPERATIONS


def nothing(*_: Any) -> None: ...


async def nothing_awaited(*_: Any) -> None: ...


class NoSpan:
    def __init__(self, *_: Any) -> None: ...

    end = nothing


def only_admission(_: Any) -> Middleware:
    """A middleware that only identifies the caller. livekit-agents has such a one too."""
    operations = {operation.handler: operation for operation in OPERATIONS}

    @web.middleware
    async def serve(request: web.Request, handler: Handler) -> web.StreamResponse:
        await admit(request, operations.get(request.match_info.handler))
        return await handler(request)

    return serve


PARTS: dict[str, dict[str, Any]] = {
    "access line": {"http_api.connections.AccessLog.log": nothing},
    "metrics": {"http_api.observability.metrics.requests.RequestMetrics.answered": nothing},
    "tracing": {"http_api.observability.middleware.RequestSpan": NoSpan},
    "redaction": {"http_api.observability.logs.setup.redactor": lambda _secrets: lambda _logger, _method, event: event},
    "middlewares": {
        "http_api.app._serving": only_admission,
        "http_api.app._completing": lambda _: nothing_awaited,
    },
}
"""What stands for what, by the name of the part: all that happens to a request but to identify the caller, with the
headers that are added to every response."""

if __name__ == "__main__":
    for part in sys.argv[1:]:
        for target, stand_in in PARTS[part].items():
            patch(target, stand_in).start()
    sys.exit(run(dev=False))
