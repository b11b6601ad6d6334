"""The session manager that a command talks to, and the options that say which."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from http_api.cli.exits import Failed

if TYPE_CHECKING:
    from http_api.client import Client

URL = "http://localhost:8080"
KEY_VARIABLE = "SESSION_MANAGER_API_KEY"
PATIENCE = 1.0
"""Seconds: somebody is sitting there."""

Url = Annotated[
    str, typer.Option("--url", envvar="SESSION_MANAGER_URL", metavar="URL", help="Where the session manager is.")
]
KeyVariable = Annotated[
    str, typer.Option("--api-key-env", metavar="NAME", help="The environment variable that holds the API key, if any.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Dev = Annotated[bool, typer.Option("--dev", help="With the defaults of dev mode.")]


@asynccontextmanager
async def connected(url: str, key_variable: str) -> AsyncIterator[Client]:
    """A client of the session manager there, with the key that the variable holds. Raises Failed."""
    from http_api.client import Client

    try:
        client = Client(url, os.environ.get(key_variable) or None, max_wait=PATIENCE)
    except ValueError as wrong:
        raise Failed(f"--url: {wrong}") from None
    async with client:
        yield client
