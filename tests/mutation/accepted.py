"""The mutants that may survive, each with the reason: `accepted.toml`.

A mutant is named by its function and the lines that it changes, which stay the same when lines are added elsewhere.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from tests.mutation.campaign import Tried

FILE = Path(__file__).with_name("accepted.toml")


class Accepted:
    def __init__(self, entries: list[dict[str, str]]) -> None:
        self._reasons = {(e["path"], e["function"], e["change"].strip()): e["reason"] for e in entries}

    def reason(self, mutant: Tried) -> str | None:
        return self._reasons.get((mutant.path, mutant.function, mutant.change))


def read_accepted() -> Accepted:
    return Accepted(tomllib.loads(FILE.read_text()).get("mutant", []))
