"""`session-manager sessions`: list the sessions visible to the caller."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from http_api.cli import output
from http_api.cli.exits import run
from http_api.cli.target import KEY_VARIABLE, URL, Json, KeyVariable, Url, connected
from manager_agent.characters import visible

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from session_manager_client import Client
    from session_manager_client.models import AttemptInfo, RequiredServiceInfo, SessionInfo

States = Annotated[list[str] | None, typer.Option("--state", help="Only sessions in this state; repeatable.")]
RegisteredService = Annotated[str | None, typer.Option("--service", help="Only sessions with this service.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="The maximum number of sessions.")]


def sessions(
    state: States = None,
    service: RegisteredService = None,
    limit: Limit = 50,
    url: Url = URL,
    api_key_env: KeyVariable = KEY_VARIABLE,
    as_json: Json = False,
) -> None:
    """List sessions, newest first."""
    run(_list(url, api_key_env, state or [], service, limit, as_json), as_json=as_json)


async def _list(url: str, key_variable: str, states: list[str], service: str | None, limit: int, as_json: bool) -> None:
    async with connected(url, key_variable) as client:
        found = await newest(client, limit=limit, state=states, service=service)
    if as_json:
        output.print_json({"sessions": [session.model_dump(mode="json") for session in found]})
    else:
        output.out().print(sessions_table(found))


async def newest(
    client: Client, *, limit: int, state: Sequence[str] = (), service: str | None = None
) -> list[SessionInfo]:
    """At most `limit` sessions in one of these states, with this service. Raises ApiError, Unreachable."""
    found = []
    async with aclosing(client.sessions(state=state, service=service)) as sessions:
        async for session in sessions:
            found.append(session)
            if len(found) == limit:
                break
    return found


def sessions_table(sessions: Sequence[SessionInfo]) -> Table:
    now = datetime.now(UTC)
    columns = ("session", "state", "user", "room", "ready", "age", "reason")
    return output.table(*columns, rows=[_session_row(session, now) for session in sessions], right=("age",))


def _session_row(session: SessionInfo, now: datetime) -> list[object]:
    ready = sum(service.state == "ready" for service in session.services)
    age = output.format_duration((now - datetime.fromisoformat(session.created_at)).total_seconds())
    return [
        session.session_id, session.state, session.user_identity, session.room_name,
        f"{ready} of {len(session.services)}", age, session.reason,
    ]  # fmt: skip


def headline(session: SessionInfo) -> Text:
    """The session's id, user, state and reason."""
    from rich.text import Text

    reason = "" if session.reason is None else f": {session.reason}"
    return Text(visible(f"{session.session_id} of {session.user_identity} is {session.state}{reason}"), "bold")


def why_not_ready(service: RequiredServiceInfo | AttemptInfo) -> str | None:
    """The reason, with what there is to say about it."""
    return f"{service.reason}: {service.detail}" if service.detail else service.reason


def services_table(session: SessionInfo) -> Table:
    """The services of a session, one row each."""
    columns = ("service", "state", "attempt", "ready by", "reason")
    rows = [
        [service.service_id or service.type, service.state, service.attempt, service.ready_by, why_not_ready(service)]
        for service in session.services
    ]
    return output.table(*columns, rows=rows, right=("attempt",))
