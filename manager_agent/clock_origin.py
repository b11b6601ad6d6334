"""What the instants of one process's clock count from, to be compared with the clock of another process. PURE."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClockOrigin:
    machine: str
    """Names the machine, until it is started again."""
    at: float
    """Seconds. The difference between the origins of two processes of one machine is that between their clocks."""

    def ahead_of(self, other: ClockOrigin | None) -> float | None:
        """Seconds by which this clock is ahead of another; None if that is one of another machine."""
        return None if other is None or other.machine != self.machine else self.at - other.at
