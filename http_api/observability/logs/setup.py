"""Configure logging: structured events on stderr, as colored lines in dev mode and as JSON lines otherwise.

Logs of other packages through the standard library take the same path. The last step before an event is written removes
tokens and secrets from all its values.
"""

from __future__ import annotations

import logging
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from types import FrameType
from typing import Any, TextIO

import msgspec
import stamina
import structlog
from jwt import InsecureKeyLengthWarning

from http_api.observability.logs.redaction import EventDict, Processor, redactor
from manager_agent.characters import UNSAFE, UNSAFE_LINES, visible

CHATTY = ("asyncio", "aiohttp.server", "livekit", "livekit.agents", "urllib3", "watchfiles")
"""Packages whose debug logs are irrelevant to sessions."""
NATIVE = "livekit.native"
"""The SDK's native log, whose level RUST_LOG sets."""
WITH_STACK, WITH_TRACEBACK = structlog.processors.StackInfoRenderer(), structlog.processors.format_exc_info


class LogEntry:
    """One log entry, free of secrets."""

    __slots__ = ("_line", "fields")

    def __init__(self, fields: Mapping[str, Any]) -> None:
        """`fields`: plain JSON values: `event`, `level`, `logger`, `timestamp`, and the event's own. They must not be
        modified."""
        self.fields = fields
        self._line: str | None = None

    @property
    def line(self) -> str:
        """The entry as JSON, on one line, safe to look at on a terminal."""
        if self._line is None:
            line = msgspec.json.encode(self.fields).decode()
            self._line = line if line.isascii() and "\x7f" not in line else visible(line, UNSAFE_IN_JSON)
        return self._line


UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""What JSON leaves as it is. All of it stands in strings, where the escapes mean the same."""
Distribute = Callable[[Any, str, EventDict], str]
Write = Callable[[Any, str, EventDict], None]
Sink = Callable[[LogEntry], None]
"""Receives each entry when it is logged, in any thread. It must not block, and must not log."""


def configure(
    *,
    dev: bool,
    level: str,
    secrets: Iterable[str],
    stream: TextIO | None = None,
    sinks: Sequence[Sink] = (),
    is_final: bool = False,
) -> None:
    """Configure structlog and the standard library's logging for this process, replacing any earlier configuration.

    `sinks` receive each entry in addition to `stream` (default: stderr). `is_final`: it is not configured again, so the
    logger of each module is made at its first entry and not at every one, which takes longer than not to log it.
    """
    stream = stream or sys.stderr
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _stamped,
        WITH_STACK,
        WITH_TRACEBACK,
    ]
    redact, distribute = redactor(secrets), _distributor(sinks, _console(stream) if dev else None)
    outlet = _Outlet(stream, redact, distribute)
    outlet.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, redact, distribute],
        )
    )
    root = logging.getLogger()
    root.handlers = [outlet]
    root.setLevel(level.upper())
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(logging.INFO, root.level))
    logging.getLogger(NATIVE).setLevel(root.level)
    logging.captureWarnings(True)
    stamina.instrumentation.set_on_retry_hooks([])  # it would log every retry; what a retry does not mend, we log
    if dev:
        warnings.filterwarnings("ignore", category=InsecureKeyLengthWarning)  # dev mode's "secret" is short
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, _handed_on],
        wrapper_class=structlog.make_filtering_bound_logger(root.level),
        logger_factory=_OwnLoggers(outlet.log),
        cache_logger_on_first_use=is_final,
    )


class _Outlet(logging.StreamHandler[TextIO]):
    """Writes formatted records, and the lines of our own events, which need no records. It handles what can't be
    formatted itself, because the standard library would write it unredacted."""

    def __init__(self, stream: TextIO, redact: Processor, distribute: Distribute) -> None:
        super().__init__(stream)
        self._redact, self._distribute = redact, distribute

    def format(self, record: logging.LogRecord) -> str:
        try:
            return super().format(record)
        except Exception as error:
            return self._note(record.name, error)

    def log(self, logger: Any, method: str, event: EventDict) -> None:
        """Write an event of our own as `handle` does: sinks and stream get the entries of all threads in one order."""
        self.acquire()
        try:
            line = self._line(logger, method, event)
            self.stream.write(line + self.terminator)
            self.stream.flush()
        except (OSError, ValueError):
            pass  # without the stream there is nowhere to report it
        finally:
            self.release()

    def _line(self, logger: Any, method: str, event: EventDict) -> str:
        try:
            return self._distribute(logger, method, self._redact(logger, method, _completed(logger, method, event)))
        except Exception as error:
            return self._note(logger.name, error)

    def handleError(self, record: logging.LogRecord) -> None:
        """Ignore a failed write, as `log` does."""

    def _note(self, name: str, error: Exception) -> str:
        event = {"event": "log_not_written", "level": "error", "logger": name, "why": type(error).__name__}
        return self._distribute(None, "error", _stamped(None, "error", event))


def _handed_on(logger: Any, method: str, event: EventDict) -> tuple[tuple[Any, str, EventDict], dict[str, Any]]:
    """The last processor of our own events: the arguments for `_Outlet.log`."""
    return (logger, method, event), {}


def _completed(logger: Any, method: str, event: EventDict) -> EventDict:
    """What the processors of structlog add to entries of others, in one step."""
    event["level"], event["logger"] = method, logger.name
    _stamped(logger, method, event)
    if "stack_info" in event:
        event = WITH_STACK(logger, method, event)
    return WITH_TRACEBACK(logger, method, event) if "exc_info" in event else event


def _stamped(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """A processor that adds the time, with microseconds."""
    seconds, microseconds = divmod(time.time_ns() // 1_000, 1_000_000)
    event["timestamp"] = f"{_second(seconds)}.{microseconds:06}Z"
    return event


@lru_cache(maxsize=1)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[: len("2026-01-31T12:00:00")]


class _OwnLogger:
    """Where one module's events end."""

    __slots__ = ("critical", "debug", "error", "info", "name", "warning")

    def __init__(self, name: str, write: Write) -> None:
        self.name = name
        self.debug = self.info = self.warning = self.error = self.critical = write


class _OwnLoggers:
    """Makes the logger of each module once."""

    def __init__(self, write: Write) -> None:
        self._write, self._made = write, dict[str, _OwnLogger]()

    def __call__(self, name: str | None = None) -> _OwnLogger:
        """The logger of this name; None: of the module that logs."""
        name = name or _calling_module()
        if (made := self._made.get(name)) is None:
            made = self._made[name] = _OwnLogger(name, self._write)
        return made


def _calling_module() -> str:
    """The name of the module that logs: the first in the stack that is not structlog's."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and (name := str(frame.f_globals.get("__name__"))).startswith("structlog"):
        frame = frame.f_back
    return name


def _distributor(sinks: Sequence[Sink], console: Any) -> Distribute:
    """The last processor: passes the entry to every sink and returns the text for the stream."""

    def distribute(logger: Any, method: str, event: EventDict) -> str:
        entry = LogEntry(event)
        for sink in sinks:
            try:
                sink(entry)
            except Exception:
                continue  # a failing sink must not affect the others
        return entry.line if console is None else str(console(logger, method, dict(event)))

    return distribute


def _console(stream: TextIO) -> Any:
    plain = structlog.dev.plain_traceback
    render = structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain)

    def rendered(logger: Any, method: str, event: EventDict) -> str:
        safe = {
            key: visible(value, _unsafe_in(key)) if isinstance(value, str) else value for key, value in event.items()
        }
        return render(logger, method, safe)

    return rendered


def _unsafe_in(key: str) -> re.Pattern[str]:
    """Tracebacks keep their lines."""
    return UNSAFE_LINES if key in ("exception", "stack") else UNSAFE
