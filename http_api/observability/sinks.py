"""The sinks of log entries besides the stream. They live longer than the application."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from http_api.observability.exit_budget import ExitBudget
from http_api.observability.logs import Sink
from http_api.observability.logs.recent import RecentLogs
from http_api.observability.shipping.log_shipper import LogShipper, Off


@dataclass(frozen=True, slots=True)
class LogSinks:
    recent: RecentLogs = field(default_factory=RecentLogs)
    shipper: LogShipper = field(default_factory=Off)
    exit_budget: ExitBudget = field(default_factory=ExitBudget)
    """The shipper's budget, shared with everything else that is flushed at exit."""

    @property
    def takers(self) -> Sequence[Sink]:
        """The sinks for logs.configure()."""
        return (self.recent.take, self.shipper.put)
