"""The session manager that a command talks to, and the options that select it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from http_api.cli.exits import CommandError

if TYPE_CHECKING:
    from session_manager_client import Client

URL = "http://localhost:8080"
KEY_VARIABLE = "SESSION_MANAGER_API_KEY"
MAX_WAIT = 1.0
"""Seconds for retries: short, because a user is waiting at the terminal."""

Url = Annotated[
    str, typer.Option("--url", envvar="SESSION_MANAGER_URL", metavar="URL", help="URL of the session manager.")
]
KeyVariable = Annotated[
    str, typer.Option("--api-key-env", metavar="NAME", help="The environment variable with the API key, if any.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Dev = Annotated[bool, typer.Option("--dev", help="Use the defaults of dev mode.")]


@asynccontextmanager
async def connected(url: str, key_variable: str) -> AsyncIterator[Client]:
    """A client of the session manager at `url`, with the API key in that variable. Raises CommandError, also if a
    variable that was named on the command line is not set."""
    from manager_agent.proxy_rule import BadProxy, proxy_rule
    from session_manager_client import Client

    key = as_meant(key_variable, os.environ.get(key_variable, ""))
    if not key and key_variable != KEY_VARIABLE:
        raise CommandError(f"--api-key-env: the environment variable {key_variable} is not set")
    try:
        client = Client(as_meant("--url", url), key or None, max_wait=MAX_WAIT, proxy=lambda url: proxy_rule().of(url))
    except BadProxy as wrong:
        raise CommandError(str(wrong)) from None
    except ValueError as wrong:
        raise CommandError(f"--url: {wrong}") from None
    async with client:
        yield client


def as_meant(name: str, text: str) -> str:
    """The text of a variable or an option, read as the settings are. Raises CommandError if it is in quotes."""
    from manager_agent.setting_text import without_quotes

    try:
        return str(without_quotes(text))
    except ValueError as wrong:
        raise CommandError(f"{name}: {wrong}") from None
