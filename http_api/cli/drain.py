"""`session-manager drain`: let a replica hand its sessions over before it is stopped."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from http_api.cli import output
from http_api.cli.exits import ExitCode, run
from http_api.cli.target import KEY_VARIABLE, URL, Json, KeyVariable, Url, connected

if TYPE_CHECKING:
    from session_manager_client import Client

INTERVAL = 0.5
"""Seconds between two looks at what is left."""

Timeout = Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait until all sessions are handed over.")]


def drain(
    url: Url = URL, api_key_env: KeyVariable = KEY_VARIABLE, timeout: Timeout = 60.0, as_json: Json = False
) -> None:
    """Let one replica hand its sessions over to the others, and wait until it has none.

    Use the URL of that replica itself, not of a load balancer. It takes no new sessions from then on, and goes on to
    answer requests until it is stopped. The API key needs the scope `admin`. Exit code 1: it still has sessions.
    """
    run(_drain(url, api_key_env, timeout, as_json), as_json=as_json)


async def _drain(url: str, key_variable: str, timeout: float, as_json: bool) -> ExitCode:
    async with connected(url, key_variable) as client:
        begun = await client.drain()
        left = begun.sessions
        try:
            async with asyncio.timeout(timeout):
                while left:
                    await asyncio.sleep(INTERVAL)
                    left = await _left(client, begun.replica_id, left)
        except TimeoutError:
            pass
    if as_json:
        output.print_json({"replica_id": begun.replica_id, "sessions": begun.sessions, "left": left})
    else:
        output.out().print(f"{begun.sessions - left} of {begun.sessions} sessions handed over")
    return ExitCode.FAILED if left else ExitCode.OK


async def _left(client: Client, replica_id: str, left: int) -> int:
    """The live sessions of this replica, as the replica that answers knows; `left` if it does not."""
    health = await client.health()
    return next((replica.sessions for replica in health.replicas if replica.id == replica_id), left)
