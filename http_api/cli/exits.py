"""How the command ends: its exit codes, and what it says instead of a traceback."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, NoReturn

import typer

from http_api.cli.output import complain, print_json


class ExitCode(IntEnum):
    FINE = 0
    NO = 1
    USAGE = 2
    UNREACHABLE = 3
    FAULT = 70
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.FINE: "fine",
    ExitCode.NO: "the answer is no",
    ExitCode.USAGE: "wrong usage or settings",
    ExitCode.UNREACHABLE: "nothing answers there",
    ExitCode.FAULT: "a fault of this command",
    ExitCode.INTERRUPTED: "interrupted",
}
EPILOG = "Exit codes: " + ", ".join(f"{code.value} {meaning}" for code, meaning in MEANINGS.items()) + "."


class Failed(Exception):
    """The command can't do what it was asked to; the message is for its user."""

    def __init__(self, message: str, code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(message)
        self.code = code


def run(work: Coroutine[Any, Any, ExitCode | None], *, as_json: bool) -> NoReturn:
    """Ends the command as `work` says, or with what became of it."""
    import stamina

    stamina.instrumentation.set_on_retry_hooks([])  # it would log every try that is repeated
    with failures_told(as_json=as_json):
        raise typer.Exit(asyncio.run(work) or ExitCode.FINE)
    raise AssertionError("what fails ends the command")


@contextmanager
def failures_told(*, as_json: bool) -> Iterator[None]:
    """Says in a line what goes wrong in here, or in a JSON document, and ends the command with its exit code."""
    try:
        yield
    except (typer.Exit, typer.BadParameter):
        raise
    except Exception as error:
        code, message, more = _judged(error)
        if as_json:
            print_json({"error": {"exit_code": code, "message": message, **more}})
        else:
            complain(message)
        raise typer.Exit(code) from None


def _judged(error: Exception) -> tuple[ExitCode, str, dict[str, Any]]:
    """The exit code, what to say, and what else a program may want to know. What is imported here was imported before,
    if such an error has come from there."""
    from http_api.client import ApiError, Unreachable
    from http_api.settings.settings import BadSettings

    match error:
        case Failed():
            return error.code, str(error), {}
        case ApiError():
            return ExitCode.NO, str(error), {"status": error.status, "slug": error.slug, "request_id": error.request_id}
        case Unreachable():
            return ExitCode.UNREACHABLE, str(error), {}
        case BadSettings():
            return ExitCode.USAGE, str(error), {}
        case BrokenPipeError():
            raise error
    where = traceback.extract_tb(error.__traceback__)[-1]
    return ExitCode.FAULT, f"{type(error).__name__} at {where.filename}:{where.lineno}: {error}", {}
