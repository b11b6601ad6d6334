"""What OpenTelemetry logs when spans can't be sent, said in the log once in a while instead of at every try."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import structlog

log = structlog.get_logger()

EVERY = 60.0
"""Seconds."""
LOGGERS = ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.sdk._shared_internal")
"""Of the exporter, and of its queue."""


class Complaints(logging.Filter):
    """Lets nothing pass."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock, self._count, self._next_at = clock, 0, -float("inf")

    def heed(self) -> None:
        for name in LOGGERS:
            logging.getLogger(name).addFilter(self)

    def let_be(self) -> None:
        for name in LOGGERS:
            logging.getLogger(name).removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """In the exporter's own thread."""
        if record.levelno >= logging.WARNING:
            self._count += 1
            if (now := self._clock()) >= self._next_at:
                self._next_at = now + EVERY
                log.warning("traces_not_exported", why=record.getMessage(), so_far=self._count)
        return False
