"""`session-manager key`: create API keys."""

from __future__ import annotations

from typing import Annotated

import typer

from http_api.access.api_keys import DEFAULT_SCOPES, KeyEntry, digest_of, new_key, read_api_keys
from http_api.access.principals import Scope
from http_api.cli import output
from http_api.cli.exits import CommandError, errors_reported
from http_api.cli.target import Json

Name = Annotated[str, typer.Argument(help="The caller's name; it owns the sessions it creates.")]
Scopes = Annotated[list[Scope] | None, typer.Option("--scope", help="What the key may be used for; repeatable.")]


def new(name: Name, scope: Scopes = None, as_json: Json = False) -> None:
    """Create an API key.

    The key is shown only once; give it to the caller. The server needs only the entry, in API_KEYS. Without --scope the
    key is valid for sessions and services.
    """
    with errors_reported(as_json=as_json):
        key = new_key()
        entry = KeyEntry(name, digest_of(key), frozenset(scope) if scope else DEFAULT_SCOPES)
        try:
            read_api_keys(str(entry))
        except ValueError as wrong:
            raise CommandError(f"NAME {str(wrong).removeprefix('entry 1 ')}") from None
    scopes = sorted(entry.scopes)
    if as_json:
        output.print_json({"name": name, "key": key, "scopes": scopes, "entry": str(entry)})
        return
    out, err = output.out(), output.err()
    err.print(f"Key of {name}, valid for {' and '.join(scopes)}. It is not shown again:", markup=False)
    out.print(key, markup=False, soft_wrap=True)
    err.print("\nIts entry for the server's API_KEYS (separate several with commas):", markup=False)
    out.print(str(entry), markup=False, soft_wrap=True)
