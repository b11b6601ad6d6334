"""GET /metrics: everything that is measured, for Prometheus to scrape."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiohttp import web
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from http_api.observability.metrics.metrics import METRICS

VERSIONS = frozenset({"", "0.0.1", "0.0.4", "1.0.0"})
"""Of its formats that Prometheus asks for. What else a client may write there, choose_encoder stumbles over."""


async def metrics(request: web.Request) -> web.Response:
    """Gives the metrics of this process, in the text format of Prometheus.

    In that of OpenMetrics to whoever accepts it.
    """
    encode, content_type = choose_encoder(understood(",".join(request.headers.getall("Accept", ()))))
    body = await asyncio.to_thread(encode, Collected(request.app[METRICS].registry))
    return web.Response(body=body, headers={"Content-Type": content_type, "Cache-Control": "no-store"})


class Collected(Collector):
    """Everything as it is now. What is measured may be read on the event loop alone; to write it down takes longer."""

    def __init__(self, measured: Collector) -> None:
        self._families = tuple(measured.collect())

    def collect(self) -> Iterable[Metric]:
        return self._families


def understood(accept: str) -> str:
    """What of an Accept header names a format by a version that there is. PURE."""
    return ",".join(kind for kind in accept.split(",") if _version_of(kind) in VERSIONS)


def _version_of(kind: str) -> str:
    """The parameter of a media type, as choose_encoder reads it."""
    parameters = (part.strip().partition("=") for part in kind.split(";"))
    return next((value for name, _, value in parameters if name == "version"), "")
