"""The outcome of each rule, and the report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from rich.console import Console
from rich.table import Table
from rich.text import Text

EXIT_KEPT, EXIT_BROKEN, EXIT_UNABLE = 0, 1, 2


class RuleVerdict(StrEnum):
    KEPT = "passed"
    BROKEN = "failed"
    SKIPPED = "skipped"


COLORS = {RuleVerdict.KEPT: "green", RuleVerdict.BROKEN: "bold red", RuleVerdict.SKIPPED: "yellow"}


class Broken(Exception):
    """The service broke a rule. The message says in one line what it did."""


class Skipped(Exception):
    """The rule does not apply to this service. The message says why."""


class Unable(Exception):
    """The check can't run: something it needs itself is missing. The message says what."""


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    rule: str
    asks: str
    """What the rule requires, in one line."""
    verdict: RuleVerdict
    reason: str
    """Why the rule failed or was skipped; what was observed if it passed."""
    seconds: float


def exit_code(outcomes: Sequence[RuleOutcome]) -> int:
    return EXIT_BROKEN if any(outcome.verdict is RuleVerdict.BROKEN for outcome in outcomes) else EXIT_KEPT


def as_json(endpoint: str, outcomes: Sequence[RuleOutcome]) -> str:
    """One object: `endpoint`, `passed`, and `rules`, each with `rule`, `asks`, `verdict`, `reason`, `seconds`."""
    rules = [asdict(outcome) | {"seconds": round(outcome.seconds, 3)} for outcome in outcomes]
    return json.dumps({"endpoint": endpoint, "passed": exit_code(outcomes) == EXIT_KEPT, "rules": rules}, indent=2)


def show(endpoint: str, outcomes: Sequence[RuleOutcome], console: Console) -> None:
    """Print a table with one line per rule, then the totals."""
    table = Table(title=endpoint, title_justify="left", box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for outcome in outcomes:
        verdict = Text(outcome.verdict, style=COLORS[outcome.verdict])
        table.add_row(verdict, Text(outcome.rule), f"{outcome.seconds:.1f} s", Text(outcome.reason))
    console.print(table)
    counts = ", ".join(f"{sum(one.verdict is verdict for one in outcomes)} {verdict}" for verdict in RuleVerdict)
    console.print(counts)
