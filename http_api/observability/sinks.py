"""Where log entries go besides the stream: from before the application is there until after it has ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from http_api.observability.exit_budget import ExitBudget
from http_api.observability.logs import Sink
from http_api.observability.logs.recent import RecentLogs
from http_api.observability.shipping.shipper import LogShipper, Off


@dataclass(frozen=True, slots=True)
class LogSinks:
    recent: RecentLogs = field(default_factory=RecentLogs)
    shipper: LogShipper = field(default_factory=Off)
    exit_budget: ExitBudget = field(default_factory=ExitBudget)
    """The shipper's, which it shares with whatever else is sent off at the end."""

    @property
    def takers(self) -> Sequence[Sink]:
        """What logs.configure() is given."""
        return (self.recent.take, self.shipper.put)
