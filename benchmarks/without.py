"""The session manager without some of what it does for each request: benchmarks/requests.py shows what each part costs.

python -m benchmarks.without "access line" metrics
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

from aiohttp import web

from http_api.__main__ import run
from http_api.admission import admit


def nothing(*_: Any) -> None: ...


async def nothing_awaited(*_: Any) -> None: ...


class NoSpan:
    def __init__(self, *_: Any) -> None: ...

    end = nothing


APPLICATION = web.Application


def only_admission(*, middlewares: Sequence[Any] = (), **options: Any) -> web.Application:
    """An application with no middleware but the one that identifies the caller. livekit-agents has one too."""
    return APPLICATION(middlewares=[one for one in middlewares if one is admit], **options)


PARTS: dict[str, dict[str, Any]] = {
    "access line": {"http_api.connections.AccessLog.log": nothing},
    "metrics": {"http_api.observability.metrics.requests.RequestMetrics.answered": nothing},
    "tracing": {"http_api.observability.middleware.RequestSpan": NoSpan},
    "redaction": {"http_api.observability.logs.setup.redactor": lambda _secrets: lambda _logger, _method, event: event},
    "middlewares": {
        "aiohttp.web.Application": only_admission,
        "http_api.app._completing": lambda _: nothing_awaited,
    },
}
"""What stands for what, by the name of the part: all middlewares but one, with the headers that are added to every
response."""

if __name__ == "__main__":
    for part in sys.argv[1:]:
        for target, stand_in in PARTS[part].items():
            patch(target, stand_in).start()
    sys.exit(run(dev=False))
