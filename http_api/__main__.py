"""`python -m http_api [--dev]`: the API and the manager agent, in one process."""

from __future__ import annotations

import argparse
import asyncio
import sys

import structlog

from http_api import VERSION, logs, native_log
from http_api.recent_logs import RecentLogs
from http_api.server import CannotListen, serve
from http_api.settings import BadSettings, Settings

UNUSABLE = 2
"""Exit code when the settings, or the port that they name, can't be used."""
FAULT = 70
"""Exit code after a fault of our own, which is logged: EX_SOFTWARE of sysexits.h."""
INTERRUPTED = 130
"""Exit code after Ctrl-C while starting, or after a second one while stopping."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m http_api", description="The LiveKit session manager.")
    parser.add_argument("--dev", action="store_true", help="on loopback, with the key of `livekit-server --dev`")
    parser.add_argument("--version", action="version", version=VERSION)
    return run(dev=parser.parse_args().dev)


def run(*, dev: bool) -> int:
    """Serves until it is asked to end; the exit code."""
    try:
        settings = Settings.load(dev=dev)
        with native_log.captured() as stderr:
            recent = RecentLogs()
            logs.configure(
                dev=settings.dev,
                level=settings.log_level,
                secrets=settings.secrets,
                stream=stderr,
                sinks=[recent.take],
            )
            return _serve(settings, recent)
    except (BadSettings, CannotListen) as error:
        print(error, file=sys.stderr)
        return UNUSABLE
    except KeyboardInterrupt:
        return INTERRUPTED


def _serve(settings: Settings, recent: RecentLogs) -> int:
    try:
        asyncio.run(serve(settings, recent))
    except CannotListen:
        raise
    except Exception:
        structlog.get_logger().exception("ended_by_fault")
        return FAULT
    return 0


if __name__ == "__main__":
    sys.exit(main())
