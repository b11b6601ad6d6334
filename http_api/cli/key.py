"""`session-manager key`: API keys."""

from __future__ import annotations

from typing import Annotated

import typer

from http_api.access.api_keys import DEFAULT_SCOPES, KeyEntry, digest_of, new_key, read_api_keys
from http_api.access.principals import Scope
from http_api.cli import output
from http_api.cli.exits import Failed, failures_told
from http_api.cli.target import Json

Name = Annotated[str, typer.Argument(help="Of the caller who gets the key; it owns what it makes.")]
Scopes = Annotated[list[Scope] | None, typer.Option("--scope", help="What the key is good for; may be repeated.")]


def new(name: Name, scope: Scopes = None, as_json: Json = False) -> None:
    """Make an API key.

    The key is shown this once, for whoever calls; the server only needs the entry, in API_KEYS. Without --scope it is
    good for sessions and services.
    """
    with failures_told(as_json=as_json):
        key = new_key()
        entry = KeyEntry(name, digest_of(key), frozenset(scope) if scope else DEFAULT_SCOPES)
        try:
            read_api_keys(str(entry))
        except ValueError as wrong:
            raise Failed(f"NAME {str(wrong).removeprefix('entry 1 ')}") from None
    scopes = sorted(entry.scopes)
    if as_json:
        output.print_json({"name": name, "key": key, "scopes": scopes, "entry": str(entry)})
        return
    out = output.out()
    out.print(f"The key of {name}, for {' and '.join(scopes)}. It can't be shown again:", markup=False)
    out.print(key, markup=False, soft_wrap=True)
    out.print("\nIts entry for API_KEYS of the server (several are separated by commas):", markup=False)
    out.print(str(entry), markup=False, soft_wrap=True)
