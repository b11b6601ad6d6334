"""`session-manager watch`: follow all sessions, or one, as they change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from http_api.cli import output
from http_api.cli.exits import ExitCode, run
from http_api.cli.target import KEY_VARIABLE, URL, Json, KeyVariable, Url, connected

if TYPE_CHECKING:
    from rich.console import RenderableType

    from session_manager_client import Client
    from session_manager_client.models import SessionInfo

REDRAW_INTERVAL = 0.25
"""Seconds between two renderings on a terminal."""


def watch(
    session_id: Annotated[str | None, typer.Argument(help="A session's id; all sessions by default.")] = None,
    url: Url = URL,
    api_key_env: KeyVariable = KEY_VARIABLE,
    as_json: Json = False,
) -> None:
    """Watch sessions and services, or the timeline of one session, until Ctrl-C or until that session is over.

    Without a terminal, or with --json, print each change of a session as a line.
    """
    run(_watch(url, api_key_env, session_id, as_json), as_json=as_json)


async def _watch(url: str, key_variable: str, session_id: str | None, as_json: bool) -> ExitCode:
    is_drawn = not as_json and output.is_on_terminal()
    async with connected(url, key_variable) as client:
        if session_id is None:
            return await (_draw_all(client) if is_drawn else _list_all(client, as_json))
        return await (_draw_one(client, session_id) if is_drawn else _list_one(client, session_id, as_json))


# --- on a terminal ----------------------------------------------------------------------------------


async def _draw_all(client: Client) -> ExitCode:
    from http_api.cli.overview import Overview

    overview = Overview()
    async with _drawn(lambda: overview), aclosing(client.follow_all()) as events:
        async for event in events:
            overview.take(event)
    return ExitCode.OK


async def _draw_one(client: Client, session_id: str) -> ExitCode:
    """Returns FAILED if the session fails."""
    from http_api.cli.one_session import OneSession

    one, code = OneSession(client), ExitCode.OK
    async with _drawn(one.picture), one.refreshing(), aclosing(client.follow(session_id)) as changes:
        async for session in changes:
            code = _code(session)
            await one.take(session)
    return code


@asynccontextmanager
async def _drawn(picture: Callable[[], RenderableType]) -> AsyncIterator[None]:
    """Inside, redraw the picture on a timer, as it shows waiting times; draw it once more at the end."""
    from rich.live import Live

    from manager_agent.tasks import Tasks

    tasks = Tasks()
    with Live(console=output.out(), auto_refresh=False) as live:

        async def draw() -> None:
            while True:
                live.update(picture(), refresh=True)
                await asyncio.sleep(REDRAW_INTERVAL)

        tasks.spawn(draw(), name="drawing")
        try:
            yield
        finally:
            await tasks.aclose()
            live.update(picture(), refresh=True)


# --- line by line -----------------------------------------------------------------------------------


async def _list_all(client: Client, as_json: bool) -> ExitCode:
    from http_api.cli.overview import Overview

    overview, unavailable = Overview(), list[str]()
    async with aclosing(client.follow_all()) as events:
        async for event in events:
            _list(overview.take(event), as_json)
            if overview.unavailable() != unavailable and not as_json:
                unavailable = overview.unavailable()
                for line in unavailable:
                    output.print_error(line)
    return ExitCode.OK


async def _list_one(client: Client, session_id: str, as_json: bool) -> ExitCode:
    """Returns FAILED if the session fails."""
    code = ExitCode.OK
    async with aclosing(client.follow(session_id)) as changes:
        async for session in changes:
            _list([session], as_json)
            code = _code(session)
    return code


def _list(sessions: Iterable[SessionInfo], as_json: bool) -> None:
    for session in sessions:
        if as_json:
            output.print_json(session.model_dump(mode="json"))
        else:
            print(line_of(session), flush=True)


def line_of(session: SessionInfo) -> str:
    services = [f"{service.service_id or service.type}={service.state}" for service in session.services]
    return " ".join([session.session_id, session.user_identity, session.state, session.reason or "-", *services])


def _code(session: SessionInfo) -> ExitCode:
    return ExitCode.FAILED if session.state == "failed" else ExitCode.OK
