"""For all unit tests: parameters that read in a report, records in each of their homes, and Hypothesis' settings."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Mapping, Set
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from manager_agent.clock import Clock
from manager_agent.clock_origin import ClockOrigin
from manager_agent.frozen import Frozen
from manager_agent.records.memory import MemoryRecords
from manager_agent.records.records import Records
from manager_agent.records.sqlite import SqliteRecords
from tests.unit.redis_replicas import replica_records

LENGTH_MAX = 60
ORIGIN = ClockOrigin("the machine of the tests", 0.0)

# How long examples take says more about the machine than about the code.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_make_parametrize_id(val: object) -> str | None:
    """Show what pytest would only number: collections by their content, long text cut, errors and values of fields by
    their class."""
    match val:
        case BaseException():
            return type(val).__name__
        case str() if len(val) > LENGTH_MAX:
            return f"{val[: LENGTH_MAX - 3]}..."
        case Mapping() | Set() | list() | tuple():
            text = _shown(val)
            return text if len(text) <= LENGTH_MAX else f"{text[: LENGTH_MAX - 3]}..."
    if isinstance(val, Frozen) or (dataclasses.is_dataclass(val) and not isinstance(val, type)):
        return type(val).__name__
    return None


def _shown(value: Any) -> str:
    match value:
        case Mapping():
            return f"{{{', '.join(f'{key}: {_shown(item)}' for key, item in value.items())}}}"
        case Set():
            return f"{{{', '.join(sorted(map(_shown, value)))}}}"
        case list() | tuple():
            return f"({', '.join(map(_shown, value))})"
        case BaseException():
            return type(value).__name__
        case None | bool() | int() | float() | str() | bytes():
            return str(value) if isinstance(value, str) and value.isprintable() and value else repr(value)
    return type(value).__name__


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def records(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path) -> AsyncIterator[Records]:
    """Each implementation of the port; `clock` is the test's."""
    if request.param == "redis":
        async with replica_records(request.getfixturevalue("redis_server"), clock) as shared:
            yield shared
        return
    records: Records = MemoryRecords(clock) if request.param == "memory" else SqliteRecords(tmp_path, clock, ORIGIN)
    await records.start()
    yield records
    await records.aclose()
