"""`session-manager serve`: what `python -m http_api` does."""

from __future__ import annotations

import typer

from http_api.cli.target import Dev


def serve(dev: Dev = False) -> None:
    """Serve the API and the manager agent, in this process.

    What is to be set, and is set: `session-manager config`.
    """
    from http_api.__main__ import run

    raise typer.Exit(run(dev=dev))
