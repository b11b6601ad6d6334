"""`session-manager timeline`: what has become of one session in the order of time."""

from __future__ import annotations

from typing import Annotated

import typer

from http_api.cli import output
from http_api.cli.exits import run
from http_api.cli.target import KEY_VARIABLE, URL, Json, KeyVariable, Url, connected


def timeline(
    session_id: Annotated[str, typer.Argument(help="The session.")],
    url: Url = URL,
    api_key_env: KeyVariable = KEY_VARIABLE,
    as_json: Json = False,
) -> None:
    """Show what has become of a session: its steps, and every attempt to get each service.

    With --json and a key of scope `admin` also what was logged about it.
    """
    run(_show(url, api_key_env, session_id, as_json), as_json=as_json)


async def _show(url: str, key_variable: str, session_id: str, as_json: bool) -> None:
    async with connected(url, key_variable) as client:
        told = await client.timeline(session_id)
    if as_json:
        output.print_json(told.model_dump(mode="json"))
        return
    from http_api.cli.timeline_bars import Drawing

    console = output.out()
    reason = "" if told.reason is None else f": {told.reason}"
    console.print(f"{told.session_id} in room {told.room_name} is {told.state}{reason}", markup=False)
    console.print(Drawing(told))
