"""`session-manager services`: list the registered services."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from http_api.cli import output
from http_api.cli.exits import run
from http_api.cli.target import KEY_VARIABLE, URL, Json, KeyVariable, Url, connected

if TYPE_CHECKING:
    from rich.table import Table

    from session_manager_client.models import ServiceInfo


def services(url: Url = URL, api_key_env: KeyVariable = KEY_VARIABLE, as_json: Json = False) -> None:
    """List the registered services with their state and load."""
    run(_list(url, api_key_env, as_json), as_json=as_json)


async def _list(url: str, key_variable: str, as_json: bool) -> None:
    async with connected(url, key_variable) as client:
        found = await client.services()
    if as_json:
        output.print_json({"services": [service.model_dump(mode="json") for service in found]})
        return
    output.out().print(registered_table(found))


def registered_table(services: Sequence[ServiceInfo]) -> Table:
    columns = ("service", "type", "state", "load", "in flight", "capacity", "lease left", "at")
    now = datetime.now(UTC)
    return output.table(*columns, rows=[_row(service, now) for service in services], right=columns[3:7])


def _row(service: ServiceInfo, now: datetime) -> list[object]:
    left = None
    if service.lease_expires_at is not None:
        left = output.format_duration((datetime.fromisoformat(service.lease_expires_at) - now).total_seconds())
    load = None if service.load is None else f"{service.load:.0%}"
    where = service.endpoint or (service.agent_name and f"agent {service.agent_name}")  # another caller's has neither
    return [
        service.service_id, service.type, service.state, load, service.in_flight, service.capacity, left, where
    ]  # fmt: skip
