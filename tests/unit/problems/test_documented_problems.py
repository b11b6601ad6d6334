"""docs/api.md lists every problem and every reason, and no other."""

from __future__ import annotations

import re

import pytest

from http_api.problems.problems import TABLE
from http_api.problems.table import UNEXPECTED
from manager_agent.session.attempt import ServiceReason
from manager_agent.session.session import FAILURES, EndReason
from scripts.repository import ROOT

pytestmark = pytest.mark.unit

API = (ROOT / "docs" / "api.md").read_text()


def table_in(section: str, columns: str) -> list[tuple[str, ...]]:
    """The first cells, without backticks, of each row of the table with these columns."""
    [text] = re.findall(rf"^## {section}\n(.*?)^## ", API, re.MULTILINE | re.DOTALL)
    [rows] = re.findall(rf"^\| {re.escape(columns)} \| \|\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    cells = columns.count("|") + 1
    return [tuple(cell.strip(" `") for cell in row.split("|")[1 : cells + 1]) for row in rows.splitlines()]


def test_every_problem_is_documented_with_its_status() -> None:
    rows = {(str(int(row.status)), row.slug) for row in (*TABLE.values(), UNEXPECTED)}
    assert table_in("Problems", "status | slug") == sorted(rows)


def test_every_reason_of_a_session_is_documented_with_its_state() -> None:
    told = {(reason.value, "failed" if reason in FAILURES else "ended") for reason in EndReason}
    assert set(table_in("Reasons", "reason | state")) == told


def test_every_reason_of_a_service_is_documented() -> None:
    assert table_in("Reasons", "reason") == [(reason.value,) for reason in ServiceReason]
