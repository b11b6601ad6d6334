"""The `session-manager` command: one file per subcommand. Slow imports happen inside the commands that need them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated

import typer

from http_api.cli.config import config
from http_api.cli.create import create
from http_api.cli.doctor import doctor
from http_api.cli.drain import drain
from http_api.cli.exits import EPILOG
from http_api.cli.key import new
from http_api.cli.serve import serve
from http_api.cli.services import services
from http_api.cli.sessions import sessions
from http_api.cli.timeline import timeline
from http_api.cli.token import decode
from http_api.cli.watch import watch
from http_api.versions import version_line


def _group(help_text: str) -> typer.Typer:
    return typer.Typer(help=help_text, epilog=EPILOG, no_args_is_help=True, pretty_exceptions_enable=False)


def _say_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(version_line())
        raise typer.Exit


def _add(group: typer.Typer, command: Callable[..., None]) -> None:
    """Add the command. In its help each paragraph is one line, because the terminal wraps it."""
    paragraphs = (inspect.getdoc(command) or "").split("\n\n")
    text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    group.command(help=text, epilog=EPILOG)(command)


app = _group("Run, inspect and diagnose a LiveKit session manager.")


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the versions.")
    ] = False,
) -> None:
    """The options of the command itself."""


token = _group("Inspect LiveKit tokens.")
key = _group("Create API keys.")

for command in (serve, services, sessions, create, watch, timeline, drain, config, doctor):
    _add(app, command)
_add(token, decode)
_add(key, new)
app.add_typer(token, name="token")
app.add_typer(key, name="key")


def main() -> None:
    app(prog_name="session-manager")
