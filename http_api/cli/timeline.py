"""`session-manager timeline`: the history of one session."""

from __future__ import annotations

from typing import Annotated

import typer

from http_api.cli import output
from http_api.cli.exits import run
from http_api.cli.target import KEY_VARIABLE, URL, Json, KeyVariable, Url, connected
from manager_agent.characters import visible


def timeline(
    session_id: Annotated[str, typer.Argument(help="The session's id.")],
    url: Url = URL,
    api_key_env: KeyVariable = KEY_VARIABLE,
    as_json: Json = False,
) -> None:
    """Show a session's history: its steps, and every attempt to get each service.

    --json with a key of scope `admin` also includes the session's log entries.
    """
    run(_show(url, api_key_env, session_id, as_json), as_json=as_json)


async def _show(url: str, key_variable: str, session_id: str, as_json: bool) -> None:
    async with connected(url, key_variable) as client:
        history = await client.timeline(session_id)
    if as_json:
        output.print_json(history.model_dump(mode="json"))
        return
    from http_api.cli.timeline_bars import Drawing

    console = output.out()
    reason = "" if history.reason is None else f": {history.reason}"
    said = f"{history.session_id} in room {history.room_name} is {history.state}{reason}"
    console.print(visible(said), markup=False)
    console.print(Drawing(history))
