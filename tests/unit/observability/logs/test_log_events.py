"""docs/logs.md lists every event that is logged, with its level, and none that is not."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator

import pytest

from manager_agent.session.change_values import AttemptStep
from scripts.repository import ROOT
from tests.source_code import parsed

pytestmark = pytest.mark.unit

LEVELS = {
    "debug": "debug",
    "info": "info",
    "warning": "warning",
    "error": "error",
    "exception": "error",
    "critical": "critical",
}
BY_VARIABLE = frozenset({"write", "_ignore", "LogLine"})
"""Functions that are called with the name of an event, and choose the level elsewhere."""
NAME = re.compile(r"[a-z]+(_[a-z0-9]+)+|[a-z]+")
UNWRITTEN = "log_not_written"
"""Replaces a line that could not be written: see tests/unit/observability/logs/test_setup.py."""
LOGGERS = frozenset({"log"})
NOT_LOGGING = ("http_api/cli/", "http_api/doctor/", "service_kit/conformance/")


def calls() -> Iterator[tuple[str, str]]:
    """Every event that the source logs by a literal name, and the call that logs it."""
    for folder in ("manager_agent", "http_api", "service_kit"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if str(path.relative_to(ROOT)).startswith(NOT_LOGGING):
                continue
            for node in ast.walk(parsed(path)):
                if isinstance(node, ast.Call) and node.args and (how := _how(node.func)):
                    yield from ((name, how) for name in _names(node.args[0]))


def _how(function: ast.expr) -> str:
    """The method of a logger, or one of BY_VARIABLE; empty for any other call."""
    if isinstance(function, ast.Name):
        return function.id if function.id in BY_VARIABLE else ""
    if not isinstance(function, ast.Attribute):
        return ""
    if function.attr in BY_VARIABLE and function.attr != "write":  # a stream's
        return function.attr
    of = function.value
    is_logger = (
        (isinstance(of, ast.Name) and of.id in LOGGERS)
        or (isinstance(of, ast.Attribute) and of.attr in LOGGERS | {"_log"})
        or (isinstance(of, ast.Call) and ast.unparse(of.func) == "structlog.get_logger")
    )
    return function.attr if is_logger and function.attr in LEVELS else ""


def _names(argument: ast.expr) -> Iterator[str]:
    if isinstance(argument, ast.IfExp):
        yield from _names(argument.body)
        yield from _names(argument.orelse)
    elif isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        yield argument.value


def documented() -> dict[str, str]:
    """The level of each event in the tables of docs/logs.md."""
    rows = re.findall(r"^\| (`[a-z_`, 0-9]+`) \| (\w+) \|", (ROOT / "docs" / "logs.md").read_text(), re.MULTILINE)
    return {name: level for names, level in rows for name in re.findall(r"`(\w+)`", names)}


def logged() -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for name, how in calls():
        found[name].add(LEVELS.get(how, ""))
    return found | {f"service_{step}": {""} for step in AttemptStep} | {UNWRITTEN: {"error"}}


def test_docs_list_every_log_event_and_no_other() -> None:
    assert documented().keys() == logged().keys()


def test_docs_list_each_log_event_under_its_level() -> None:
    listed = documented()
    wrong = {name: levels for name, levels in logged().items() if not levels <= {"", listed.get(name)}}
    assert wrong == {}


def test_log_event_names_are_lower_case_words() -> None:
    assert [name for name in logged() if not NAME.fullmatch(name)] == []
