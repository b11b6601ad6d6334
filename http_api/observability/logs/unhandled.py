"""Log unhandled errors of threads, finalizers and callbacks from native code.

Python would write them to stderr unredacted, and they would not reach the other sinks.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import structlog

log = structlog.get_logger()


@contextmanager
def logged() -> Iterator[None]:
    """Log unhandled errors within the block. Errors that end the process are left to the caller."""
    before = threading.excepthook, sys.unraisablehook
    threading.excepthook, sys.unraisablehook = _of_thread, _of_finalizer
    try:
        yield
    finally:
        threading.excepthook, sys.unraisablehook = before


def _of_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit:
        _log(args.exc_value, args.exc_traceback, thread=args.thread.name if args.thread else None)


def _of_finalizer(unraisable: sys.UnraisableHookArgs) -> None:
    _log(unraisable.exc_value, unraisable.exc_traceback, where=unraisable.err_msg, of=type(unraisable.object).__name__)


def _log(error: BaseException | None, traceback: TracebackType | None, **about: str | None) -> None:
    known = {name: value for name, value in about.items() if value is not None}
    log.error("unhandled_error", exc_info=error and (type(error), error, traceback), **known)
