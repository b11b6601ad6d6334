"""The `session-manager` command: each subcommand in a file of its name. What takes time to import is imported by those
that need it, when they run."""

from __future__ import annotations

import typer

from http_api.cli.config import config
from http_api.cli.create import create
from http_api.cli.doctor import doctor
from http_api.cli.exits import EPILOG
from http_api.cli.key import new
from http_api.cli.serve import serve
from http_api.cli.services import services
from http_api.cli.sessions import sessions
from http_api.cli.timeline import timeline
from http_api.cli.token import decode
from http_api.cli.watch import watch


def _group(says: str) -> typer.Typer:
    return typer.Typer(help=says, epilog=EPILOG, no_args_is_help=True, pretty_exceptions_enable=False)


app = _group("Runs and looks after a LiveKit session manager.")
token = _group("LiveKit's tokens.")
key = _group("API keys.")

for command in (serve, services, sessions, create, watch, timeline, config, doctor):
    app.command(epilog=EPILOG)(command)
token.command(epilog=EPILOG)(decode)
key.command(epilog=EPILOG)(new)
app.add_typer(token, name="token")
app.add_typer(key, name="key")


def main() -> None:
    app(prog_name="session-manager")
