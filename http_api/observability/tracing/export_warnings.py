"""Limit the warnings that OpenTelemetry logs at every failed export to one per interval."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import structlog

log = structlog.get_logger()

EVERY = 60.0
"""Minimum seconds between two warnings."""
LOGGERS = ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.sdk._shared_internal")
"""The loggers of the exporter and of its queue."""


class ExportWarnings(logging.Filter):
    """Drops all records of these loggers, and logs a warning of our own at intervals."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock, self._count, self._next_at = clock, 0, -float("inf")

    def install(self) -> None:
        for name in LOGGERS:
            logging.getLogger(name).addFilter(self)

    def uninstall(self) -> None:
        for name in LOGGERS:
            logging.getLogger(name).removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Called in the exporter's thread."""
        if record.levelno >= logging.WARNING:
            self._count += 1
            if (now := self._clock()) >= self._next_at:
                self._next_at = now + EVERY
                log.warning("traces_not_exported", why=record.getMessage(), so_far=self._count)
        return False
