"""The log shipper of a process: a Shipper, or Off when log shipping is disabled."""

from __future__ import annotations

from typing import Self

from aiohttp import web

from http_api.observability.exit_budget import ExitBudget
from http_api.observability.logs import LogEntry
from http_api.observability.resource import resource_of
from http_api.observability.shipping.batch import Stats
from http_api.observability.shipping.formats import JSON, otlp_of
from http_api.observability.shipping.shipper import Shipper
from http_api.settings.settings import Settings


class Off:
    """The shipper when log shipping is disabled."""

    is_on = False

    def __repr__(self) -> str:
        return "<Off>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def put(self, entry: LogEntry) -> None:
        pass

    @property
    def stats(self) -> Stats:
        return Stats()


LogShipper = Shipper | Off


def shipper_of(settings: Settings, exit_budget: ExitBudget) -> LogShipper:
    """The shipper for these settings, not started."""
    if not settings.vector_log_enabled:
        return Off()
    format = JSON if settings.vector_log_format == JSON.name else otlp_of(resource_of(settings))
    return Shipper(settings.vector_log_endpoint, format, exit_budget=exit_budget)


SHIPPER: web.AppKey[LogShipper] = web.AppKey("SHIPPER")
"""The log shipper, for its `stats`."""
