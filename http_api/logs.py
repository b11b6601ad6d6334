"""Logs: events with fields. Coloured lines in dev mode, JSON lines otherwise, on stderr.

What other packages log through the standard library goes the same way. No token and no secret gets out: the
last step before an event is written looks at every value in it.
"""

from __future__ import annotations

import logging
import math
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any, TextIO

import structlog
from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from jwt import InsecureKeyLengthWarning

from http_api.api_keys import PREFIX
from http_api.keys import PROBLEM, REQUEST_ID

JWT = re.compile(r"eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*")
API_KEY = re.compile(rf"(?<![A-Za-z0-9_]){PREFIX}[A-Za-z0-9_-]{{20,}}")
"""Also one that was cut off."""
REDACTED = "[redacted]"
DEPTH_MAX = 8
"""Values nested deeper are written as text."""
BY_MACHINES = frozenset({"/health", "/livez", "/readyz", "/livekit/webhook"})
"""Asked all the time; of interest only when it fails."""
CHATTY = ("asyncio", "aiohttp.server", "livekit", "livekit.agents", "watchfiles")
"""Packages whose debug lines say nothing about sessions."""

EventDict = MutableMapping[str, Any]
Processor = Callable[[Any, str, EventDict], EventDict]


def configure(*, dev: bool, level: str, secrets: Iterable[str], stream: TextIO | None = None) -> None:
    """Sets up structlog and the standard library's logging for this process; again replaces what was set."""
    stream = stream or sys.stderr
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                redactor(secrets),
                _renderer(dev=dev, stream=stream),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(logging.INFO, root.level))
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


def _renderer(*, dev: bool, stream: TextIO) -> Any:
    if dev:
        plain = structlog.dev.plain_traceback
        return structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain)
    return structlog.processors.JSONRenderer()


def redactor(secrets: Iterable[str]) -> Processor:
    """A processor that replaces every JWT, every API key and every one of `secrets`, wherever in an event they stand,
    and leaves nothing but plain JSON values."""
    known = sorted(filter(None, secrets), key=len, reverse=True)
    # A secret may be an ordinary word (dev mode's is "secret"), so only whole words count.
    words = (rf"(?<![A-Za-z0-9_]){re.escape(secret)}(?![A-Za-z0-9_])" for secret in known)
    hidden = re.compile("|".join((JWT.pattern, API_KEY.pattern, *words)))

    def text(value: object) -> str:
        return hidden.sub(REDACTED, str(value)).encode("utf-8", "backslashreplace").decode()

    def plain(value: Any, depth: int) -> Any:
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)
        if isinstance(value, str):
            return text(value)
        if depth < DEPTH_MAX and isinstance(value, Mapping):
            return {text(key): plain(item, depth + 1) for key, item in value.items()}
        if depth < DEPTH_MAX and isinstance(value, list | tuple | set | frozenset):
            return [plain(item, depth + 1) for item in value]
        return text(repr(value))

    def redact(_logger: Any, _method: str, event: EventDict) -> EventDict:
        return {key: plain(value, 0) for key, value in event.items()}

    return redact


class AccessLog(AbstractAccessLogger):
    """One event for each answered request."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """`time`: seconds it took."""
        log = structlog.get_logger("http_api.access")
        write = log.debug if request.path in BY_MACHINES and response.status < 400 else log.info
        fields = {"request_id": request.get(REQUEST_ID), "problem": request.get(PROBLEM), "remote": request.remote}
        write(
            "request",
            method=request.method,
            path=request.path,
            status=response.status,
            ms=round(time * 1000, 1),
            **{name: value for name, value in fields.items() if value is not None},
        )
