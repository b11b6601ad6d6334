"""`session-manager watch`: sessions, or the services of one, as they change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from http_api.cli import output
from http_api.cli.exits import ExitCode, run
from http_api.cli.sessions import newest, services_table, sessions_table
from http_api.cli.target import KEY_VARIABLE, URL, Json, KeyVariable, Url, connected

if TYPE_CHECKING:
    from rich.console import RenderableType

    from http_api.client import Client
    from http_api.views import SessionView

    Show = Callable[[Sequence[SessionView], RenderableType], None]

INTERVAL = 1.0
"""Seconds between two looks at all sessions."""
SHOWN = 50
"""So many sessions, the newest."""


def watch(
    session_id: Annotated[str | None, typer.Argument(help="One session; all when not given.")] = None,
    url: Url = URL,
    api_key_env: KeyVariable = KEY_VARIABLE,
    as_json: Json = False,
) -> None:
    """Watch sessions, or the services of one, until Ctrl-C, or until that one is over.

    Where there is no terminal, and with --json, each change is a line.
    """
    run(_watch(url, api_key_env, session_id, as_json), as_json=as_json)


async def _watch(url: str, key_variable: str, session_id: str | None, as_json: bool) -> ExitCode:
    async with connected(url, key_variable) as client:
        with _display(as_json=as_json) as show:
            if session_id is None:
                return await _watch_all(client, show)
            return await _watch_one(client, session_id, show)


async def _watch_one(client: Client, session_id: str, show: Show) -> ExitCode:
    """NO when the session fails."""
    code = ExitCode.FINE
    async with aclosing(client.follow(session_id)) as changes:
        async for session in changes:
            show([session], services_table(session))
            code = ExitCode.NO if session.state == "failed" else ExitCode.FINE
    return code


async def _watch_all(client: Client, show: Show) -> ExitCode:
    known: dict[str, int] = {}
    while True:
        sessions = await newest(client, limit=SHOWN)
        changed = [session for session in sessions if known.get(session.session_id) != session.revision]
        known = {session.session_id: session.revision for session in sessions}
        show(changed[::-1], sessions_table(sessions))
        await asyncio.sleep(INTERVAL)


@contextmanager
def _display(*, as_json: bool) -> Iterator[Show]:
    """What shows the sessions that have changed, or the table with what there is now."""
    console = output.out()
    if as_json:
        yield lambda changed, _: _each(changed, lambda session: output.print_json(session.model_dump(mode="json")))
    elif not console.is_terminal:
        yield lambda changed, _: _each(changed, lambda session: print(line_of(session), flush=True))
    else:
        from rich.live import Live

        with Live(console=console, auto_refresh=False) as live:
            yield lambda _, table: live.update(table, refresh=True)


def _each(sessions: Sequence[SessionView], show: Callable[[SessionView], None]) -> None:
    for session in sessions:
        show(session)


def line_of(session: SessionView) -> str:
    services = [f"{service.service_id or service.type}={service.state}" for service in session.services]
    return " ".join([session.session_id, session.user_identity, session.state, session.reason or "-", *services])
