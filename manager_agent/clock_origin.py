"""What the instants of one process's clock count from, to be compared with the clock of another process. PURE."""

from __future__ import annotations

from dataclasses import dataclass

DRIFT = 0.1
"""Seconds by which the clocks of two processes of one machine may differ without a correction: clocks drift by
microseconds, and what was shown stays the same."""


@dataclass(frozen=True, slots=True)
class ClockOrigin:
    machine: str
    """Names the machine, until it is started again."""
    at: float
    """Seconds. The difference between the origins of two processes of one machine is that between their clocks."""

    def ahead_of(self, other: ClockOrigin | None) -> float | None:
        """Seconds by which this clock is ahead of another, 0 if they agree; None if that is one of another machine."""
        if other is None or other.machine != self.machine:
            return None
        ahead = self.at - other.at
        return ahead if abs(ahead) > DRIFT else 0.0
