"""`python -m http_api [--dev]`: the API and the manager agent in one process."""

from __future__ import annotations

import gc

if __name__ == "__main__":
    gc.disable()  # until all is imported, see serve(): it would look at it hundreds of times, for nothing

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from http_api.listening import CannotListen
from http_api.observability import logs
from http_api.observability.exit_budget import ExitBudget
from http_api.observability.logs import native, unhandled
from http_api.observability.shipping.log_shipper import shipper_of
from http_api.observability.sinks import LogSinks
from http_api.open_files import raise_limit
from http_api.server import SuccessorStopped, serve
from http_api.settings.complaint import BadSettings
from http_api.settings.secret_values import kept_from_logs
from http_api.settings.settings import Settings
from http_api.settings.state_dir import with_state_dir
from http_api.versions import version_line
from manager_agent.livekit.ffi import PANIC_EXIT_CODE, has_panicked
from manager_agent.proxy_rule import proxy_rule

log = structlog.get_logger()

UNUSABLE = 2
"""Exit code if the settings are invalid or their port can't be used."""
FAULT = PANIC_EXIT_CODE
"""Exit code after an internal error or a panic of the native library, which are logged."""
SUCCESSOR_STOPPED = 75
"""Exit code of a superseded process that has to be started again, to act: EX_TEMPFAIL of sysexits.h."""
INTERRUPTED = 130
"""Exit code after Ctrl-C while starting, and after a second one while stopping."""

Program = Callable[[Settings, LogSinks], Coroutine[Any, Any, None]]
"""The program to run, given the settings and the sinks of the log."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m http_api", description="The LiveKit session manager.")
    parser.add_argument(
        "--dev", action="store_true", help="listen on loopback, with the API key of `livekit-server --dev`"
    )
    parser.add_argument("--version", action="store_true", help="show program's version number and exit")
    asked = parser.parse_args()
    if asked.version:
        print(version_line())
        return 0
    return run(dev=asked.dev)


def run(*, dev: bool, has_state_dir: bool = False, program: Program = serve) -> int:
    """Serve until asked to stop, then ship the rest of the log. Returns the exit code.

    `has_state_dir`: the user's own directory is the default of STATE_DIR.
    """
    raise_limit()
    exit_budget = ExitBudget()
    try:
        settings = Settings.load(dev=dev)
        if has_state_dir:
            settings = with_state_dir(settings)
        stderr = native.capture()
        with unhandled.logged():
            sinks = LogSinks(shipper=shipper_of(settings, exit_budget), exit_budget=exit_budget)
            logs.configure(
                dev=settings.dev,
                level=settings.log_level,
                secrets=kept_from_logs(settings) | proxy_rule().secrets,
                stream=stderr,
                sinks=sinks.takers,
                is_final=True,
            )
            with sinks.shipper:
                return _served(program(settings, sinks), sinks)
    except (BadSettings, CannotListen) as error:
        print(error, file=sys.stderr)
        return UNUSABLE
    except KeyboardInterrupt:
        return INTERRUPTED


def _served(serving: Coroutine[Any, Any, None], sinks: LogSinks) -> int:
    try:
        with asyncio.Runner() as runner:
            try:
                runner.run(serving)
            except KeyboardInterrupt:
                sinks.exit_budget.cut()  # before the runner exits, which cancels all remaining tasks
                raise
    except (BadSettings, CannotListen) as error:
        if sinks.shipper.is_on:
            log.critical("not_started", why=str(error))  # only for the shipped log: run() prints the message here
        raise
    except SuccessorStopped:
        return SUCCESSOR_STOPPED
    except Exception:
        log.critical("ended_by_fault", exc_info=True)  # logged, so that it is shipped too
        return FAULT
    return FAULT if has_panicked() else 0


if __name__ == "__main__":
    sys.exit(main())
