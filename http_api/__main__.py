"""`python -m http_api [--dev]`: the API and the manager agent, in one process."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from http_api import VERSION, logs
from http_api.server import CannotListen, serve
from http_api.settings import BadSettings, Settings
from http_api.shipping.shipper import LogShipper, shipper_of

log = structlog.get_logger()

FAULT = 1
"""Exit code when an error of ours has ended it."""
UNUSABLE = 2
"""Exit code when the settings, or the port that they name, can't be used."""
INTERRUPTED = 130
"""Exit code after Ctrl-C while starting, or after a second one while stopping."""

Program = Callable[[Settings, LogShipper], Coroutine[Any, Any, None]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m http_api", description="The LiveKit session manager.")
    parser.add_argument("--dev", action="store_true", help="on loopback, with the key of `livekit-server --dev`")
    parser.add_argument("--version", action="version", version=VERSION)
    return run(dev=parser.parse_args().dev)


def run(*, dev: bool, program: Program = serve) -> int:
    """Serves until it is asked to end, and ships what is left of the log; the exit code."""
    try:
        settings = Settings.load(dev=dev)
        shipper = shipper_of(settings)
        logs.configure(dev=settings.dev, level=settings.log_level, secrets=settings.secrets, sinks=[shipper.put])
        with shipper:
            return _served(program(settings, shipper))
    except (BadSettings, CannotListen) as error:
        print(error, file=sys.stderr)
        return UNUSABLE
    except KeyboardInterrupt:
        return INTERRUPTED


def _served(serving: Coroutine[Any, Any, None]) -> int:
    try:
        asyncio.run(serving)
    except (BadSettings, CannotListen):
        raise
    except Exception:
        log.critical("ended_by_an_error", exc_info=True)  # in the log, so that it is shipped too
        return FAULT
    return 0


if __name__ == "__main__":
    sys.exit(main())
