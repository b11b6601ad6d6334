"""The result of a check. PURE."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CheckVerdict(StrEnum):
    OK = "ok"
    WARNING = "warning"
    """It works, but not as well as it could."""
    WRONG = "wrong"
    SKIPPED = "skipped"
    """Something else must be fixed before this can be checked."""


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    verdict: CheckVerdict
    says: str
    mend: str = ""
    """How to fix it. Empty if there is nothing to fix."""


def ok(check: str, says: str) -> Finding:
    return Finding(check, CheckVerdict.OK, says)


def warning(check: str, says: str, mend: str) -> Finding:
    return Finding(check, CheckVerdict.WARNING, says, mend)


def wrong(check: str, says: str, mend: str) -> Finding:
    return Finding(check, CheckVerdict.WRONG, says, mend)


def skipped(check: str, says: str) -> Finding:
    return Finding(check, CheckVerdict.SKIPPED, says)
