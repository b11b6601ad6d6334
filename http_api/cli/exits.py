"""How a command ends: its exit codes, and the message printed instead of a traceback."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from enum import IntEnum
from http import HTTPStatus
from typing import Any, NoReturn

import typer

from http_api.cli.output import print_error, print_json


class ExitCode(IntEnum):
    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    INTERNAL_ERROR = 70
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "success",
    ExitCode.FAILED: "refused or failed",
    ExitCode.USAGE: "invalid usage or settings",
    ExitCode.UNREACHABLE: "server unreachable",
    ExitCode.INTERNAL_ERROR: "internal error",
    ExitCode.INTERRUPTED: "interrupted",
}
EPILOG = "Exit codes: " + ", ".join(f"{code.value} {meaning}" for code, meaning in MEANINGS.items()) + "."

KEY_NEEDED = ". Set SESSION_MANAGER_API_KEY to an API key, or name the variable that has it with --api-key-env"


class CommandError(Exception):
    """The command can't be carried out. The message is shown to the user."""

    def __init__(self, message: str, code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(message)
        self.code = code


def run(work: Coroutine[Any, Any, ExitCode | None], *, as_json: bool) -> NoReturn:
    """Run `work` and exit with the code it returns, or with the code of the error it raises."""
    with errors_reported(as_json=as_json):
        raise typer.Exit(asyncio.run(work) or ExitCode.OK)
    raise AssertionError("errors_reported exits on every error")


@contextmanager
def errors_reported(*, as_json: bool) -> Iterator[None]:
    """Report an error as one line, or as a JSON document, and exit with its code."""
    try:
        yield
    except (typer.Exit, typer.BadParameter):
        raise
    except Exception as error:
        code, message, more = _report(error)
        if as_json:
            print_json({"error": {"exit_code": code, "message": message, **more}})
        else:
            print_error(message)
        raise typer.Exit(code) from None


def _report(error: Exception) -> tuple[ExitCode, str, dict[str, Any]]:
    """The exit code, the message, and further fields for the JSON document.

    The imports below cost nothing extra: an error of these types means that its module is already loaded.
    """
    from http_api.settings.complaint import BadSettings
    from session_manager_client import ApiError, Unreachable

    match error:
        case CommandError():
            return error.code, str(error), {}
        case ApiError():
            return (
                ExitCode.FAILED,
                f"{error}{KEY_NEEDED if error.status == HTTPStatus.UNAUTHORIZED else ''}",
                {"status": error.status, "slug": error.slug, "request_id": error.request_id},
            )
        case Unreachable():
            return ExitCode.UNREACHABLE, str(error), {}
        case BadSettings():
            return ExitCode.USAGE, str(error), {}
        case BrokenPipeError():
            raise error
    where = traceback.extract_tb(error.__traceback__)[-1]
    return ExitCode.INTERNAL_ERROR, f"{type(error).__name__} at {where.filename}:{where.lineno}: {error}", {}
