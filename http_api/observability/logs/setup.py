"""Logs: events with fields. Coloured lines in dev mode, JSON lines otherwise, on stderr.

What other packages log through the standard library goes the same way. No token and no secret gets out: the
last step before an event is written looks at every value in it.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TextIO

import structlog
from jwt import InsecureKeyLengthWarning

from http_api.observability.logs.redaction import EventDict, redactor

CHATTY = ("asyncio", "aiohttp.server", "livekit", "livekit.agents", "urllib3", "watchfiles")
"""Packages whose debug lines say nothing about sessions."""
NATIVE = "livekit.native"
"""Of the SDK's native log RUST_LOG decides."""
STAMP = structlog.processors.TimeStamper(fmt="iso", utc=True)


@dataclass(frozen=True)
class Entry:
    """One line of the log, with nothing in it that must not be seen."""

    fields: Mapping[str, Any]
    """Plain JSON values: `event`, `level`, `logger`, `timestamp`, and what belongs to the event. Not to be changed."""

    @cached_property
    def line(self) -> str:
        """As JSON, on one line."""
        return json.dumps(self.fields, ensure_ascii=False, separators=(",", ":"))


Distribute = Callable[[Any, str, EventDict], str]
Sink = Callable[[Entry], None]
"""Takes each entry as it is logged, in any thread: it must return at once, and log nothing itself."""


def configure(
    *, dev: bool, level: str, secrets: Iterable[str], stream: TextIO | None = None, sinks: Sequence[Sink] = ()
) -> None:
    """Sets up structlog and the standard library's logging for this process; again replaces what was set.

    `sinks`: where each entry goes besides the stream.
    """
    stream = stream or sys.stderr
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        STAMP,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    distribute = _distributor(sinks, _console(stream) if dev else None)
    handler = _Outlet(stream, distribute)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                redactor(secrets),
                distribute,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(logging.INFO, root.level))
    logging.getLogger(NATIVE).setLevel(root.level)
    logging.captureWarnings(True)
    if dev:
        warnings.filterwarnings("ignore", category=InsecureKeyLengthWarning)  # "secret" is short, and known to all
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


class _Outlet(logging.StreamHandler[TextIO]):
    """Writes what the formatter makes of a record. What becomes of one that can't be written is ours to say: the
    standard library would show it as it came, with every secret in it."""

    def __init__(self, stream: TextIO, distribute: Distribute) -> None:
        super().__init__(stream)
        self._distribute = distribute

    def format(self, record: logging.LogRecord) -> str:
        try:
            return super().format(record)
        except Exception as error:
            told = {"event": "log_not_written", "level": "error", "logger": record.name, "why": type(error).__name__}
            return self._distribute(None, "error", STAMP(None, "error", told))

    def handleError(self, record: logging.LogRecord) -> None:
        """The stream is gone: there is nowhere to say so."""


def _distributor(sinks: Sequence[Sink], console: Any) -> Distribute:
    """The last step: gives the entry to every sink, and returns what the stream is to show."""

    def distribute(logger: Any, method: str, event: EventDict) -> str:
        entry = Entry(event)
        for sink in sinks:
            with suppress(Exception):  # a fault of one is no reason for the others to miss it
                sink(entry)
        return entry.line if console is None else str(console(logger, method, dict(event)))

    return distribute


def _console(stream: TextIO) -> Any:
    plain = structlog.dev.plain_traceback
    return structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain)
