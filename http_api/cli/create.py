"""`session-manager create`: one session, from the request to the token."""

from __future__ import annotations

from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from http_api.cli import output
from http_api.cli.exits import run
from http_api.cli.target import KEY_VARIABLE, URL, Json, KeyVariable, Url, connected

if TYPE_CHECKING:
    from http_api.cli.progress import Progress
    from http_api.client import Client
    from http_api.models.responses import SessionView, SessionWithToken


def create(
    service: Annotated[list[str] | None, typer.Option("--service", help="A required service; may be repeated.")] = None,
    profile: Annotated[str | None, typer.Option("--profile", help="A profile of the services file.")] = None,
    identity: Annotated[str | None, typer.Option("--identity", help="The user's; made up when not given.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="The user's.")] = None,
    room: Annotated[str | None, typer.Option("--room", help="The room's name; made up when not given.")] = None,
    timeout: Annotated[float | None, typer.Option("--timeout", help="Seconds until all must be ready.")] = None,
    keep: Annotated[bool, typer.Option("--keep/--close", help="Whether it stays when all is shown.")] = True,
    url: Url = URL,
    api_key_env: KeyVariable = KEY_VARIABLE,
    as_json: Json = False,
) -> None:
    """Ask for a session, show how it comes about, and print its token.

    The token goes to stdout, the rest to stderr. Ctrl-C before it is ready ends the session.
    """
    fields = {
        "user_identity": identity,
        "user_name": name,
        "room_name": room,
        "profile": profile,
        "required_services": service or (None if profile else []),
        "ready_timeout": timeout,
    }
    run(_create(url, api_key_env, fields, keep, as_json), as_json=as_json)


async def _create(url: str, key_variable: str, fields: dict[str, Any], keep: bool, as_json: bool) -> None:
    from http_api.cli.progress import Progress

    async with connected(url, key_variable) as client:
        progress = Progress(None if as_json else output.err())
        session = await opened(client, progress, **fields)
        if as_json:
            output.print_json(session.model_dump(mode="json"))
        else:
            output.out().print(session.access_token, soft_wrap=True)
        if not keep:
            await client.close(session.session_id)


async def opened(client: Client, progress: Progress, **fields: Any) -> SessionWithToken:
    """A session that is ready, having shown how it came about. Raises Problem, Unreachable; nothing of it is left
    then."""
    from http_api.client import ApiError, Unreachable

    session = await client.create(**fields)
    try:
        async with aclosing(client.follow(session.session_id)) as changes:
            async for change in changes:
                progress.show(change)
                if is_decided(change):
                    break
        ready = await client.until_ready(session.session_id)
    except BaseException:
        with suppress(ApiError, Unreachable):
            await client.close(session.session_id)
        raise
    progress.ready(ready)
    return ready


def is_decided(session: SessionView) -> bool:
    return session.state in ("ready", "active") or session.ended_at is not None
