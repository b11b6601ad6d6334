"""GET /metrics: the metrics, for Prometheus to scrape."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiohttp import web
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from http_api.observability.metrics.metrics import METRICS

VERSIONS = frozenset({"", "0.0.1", "0.0.4", "1.0.0"})
"""The format versions that Prometheus requests. choose_encoder raises on other values."""


async def metrics(request: web.Request) -> web.Response:
    """Get metrics.

    The metrics of this process in the Prometheus text format, or in the OpenMetrics format if the client accepts it.
    """
    encode, content_type = choose_encoder(understood(",".join(request.headers.getall("Accept", ()))))
    body = await asyncio.to_thread(encode, Collected(request.app[METRICS].registry))
    return web.Response(body=body, headers={"Content-Type": content_type, "Cache-Control": "no-store"})


class Collected(Collector):
    """A copy of all metrics as they are now. Reading the metrics must happen on the event loop; encoding the copy,
    which takes longer, need not."""

    def __init__(self, measured: Collector) -> None:
        self._families = tuple(measured.collect())

    def collect(self) -> Iterable[Metric]:
        return self._families


def understood(accept: str) -> str:
    """The media types of an Accept header that have a known format version. PURE."""
    return ",".join(kind for kind in accept.split(",") if _version_of(kind) in VERSIONS)


def _version_of(kind: str) -> str:
    """The parameter of a media type, as choose_encoder reads it."""
    parameters = (part.strip().partition("=") for part in kind.split(";"))
    return next((value for name, _, value in parameters if name == "version"), "")
