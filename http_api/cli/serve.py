"""`session-manager serve`: the same as `python -m http_api`, with a STATE_DIR unless one is set."""

from __future__ import annotations

import typer

from http_api.cli.target import Dev


def serve(dev: Dev = False) -> None:
    """Serve the API and the manager agent in this process.

    What rooms can't hold survives a restart in STATE_DIR, by default a directory of your own below ~/.local/state.
    `session-manager config` lists the settings.
    """
    from http_api.__main__ import run

    raise typer.Exit(run(dev=dev, has_state_dir=True))
