"""`session-manager serve`: the same as `python -m http_api`, with a STATE_DIR unless one is set, and restarted when it
ends by itself."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from http_api.cli.target import Dev

SUPERVISOR = Path(__file__).with_name("supervisor.py")
ALONE = ("-c", "from http_api.cli import main; main()", "serve", "--no-supervisor")


def serve(
    dev: Dev = False,
    supervisor: Annotated[
        bool, typer.Option("--supervisor/--no-supervisor", help="restart the server after a crash")
    ] = True,
) -> None:
    """Serve the API and the manager agent.

    A server that crashes is restarted and continues its sessions. With `--no-supervisor` it runs in this process, for a
    supervisor of your own.

    What rooms can't hold survives a restart in STATE_DIR, by default a directory of your own below ~/.local/state.
    `session-manager config` lists the settings.
    """
    if not supervisor:
        gc.disable()  # as __main__.py does, which is imported here

        from http_api.__main__ import run

        raise typer.Exit(run(dev=dev, has_state_dir=True))
    sys.stdout.flush()
    program = [sys.executable, *ALONE, *(["--dev"] if dev else [])]
    # In place of this process, whose imports would stay in memory.
    os.execv(sys.executable, [sys.executable, "-I", "-S", str(SUPERVISOR), *program])
