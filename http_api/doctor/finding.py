"""What a check finds. PURE."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CheckVerdict(StrEnum):
    OK = "ok"
    WARNING = "warning"
    """It works, though not as well as it could."""
    WRONG = "wrong"
    SKIPPED = "skipped"
    """It can't be told before something else is mended."""


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    verdict: CheckVerdict
    says: str
    mend: str = ""
    """What to do about it, unless it is ok."""


def ok(check: str, says: str) -> Finding:
    return Finding(check, CheckVerdict.OK, says)


def warning(check: str, says: str, mend: str) -> Finding:
    return Finding(check, CheckVerdict.WARNING, says, mend)


def wrong(check: str, says: str, mend: str) -> Finding:
    return Finding(check, CheckVerdict.WRONG, says, mend)


def skipped(check: str, says: str) -> Finding:
    return Finding(check, CheckVerdict.SKIPPED, says)
