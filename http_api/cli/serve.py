"""`session-manager serve`: the same as `python -m http_api`."""

from __future__ import annotations

import typer

from http_api.cli.target import Dev


def serve(dev: Dev = False) -> None:
    """Serve the API and the manager agent in this process.

    `session-manager config` lists the settings.
    """
    from http_api.__main__ import run

    raise typer.Exit(run(dev=dev))
