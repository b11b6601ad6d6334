"""`python -m service_kit.check`: the conformance check. For its arguments see --help, or conformance/options.py."""

from __future__ import annotations

import asyncio
import os
import sys
import warnings
from collections.abc import Sequence

from jwt import InsecureKeyLengthWarning
from rich.console import Console

from manager_agent.livekit.ffi import disable_log_capture
from service_kit.conformance.harness import harness_for
from service_kit.conformance.options import Options
from service_kit.conformance.report import EXIT_UNABLE, Unable, as_json, exit_code, show
from service_kit.conformance.runner import check

WIDTH = 160
"""Columns when the output is a file or a pipe: one line per rule."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Check one service and print the results. Returns the exit code."""
    options = Options.from_command_line(arguments)
    warnings.filterwarnings("ignore", category=InsecureKeyLengthWarning)  # the keys are the caller's choice
    os.environ.setdefault("RUST_LOG", "off")  # LiveKit's native library logs every closed room
    disable_log_capture()
    return asyncio.run(_check(options))


async def _check(options: Options) -> int:
    try:
        async with harness_for(options) as harness:
            outcomes = await check(harness)
    except Unable as unable:
        print(f"could not run the check: {unable}", file=sys.stderr)
        return EXIT_UNABLE
    if options.json:
        print(as_json(options.endpoint, outcomes))
    else:
        terminal = Console(highlight=False)
        show(options.endpoint, outcomes, terminal if terminal.is_terminal else Console(width=WIDTH, highlight=False))
    return exit_code(outcomes)


if __name__ == "__main__":
    sys.exit(main())
