"""A live view of the event feed: unavailable upstreams, the newest sessions, the registered services."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from http_api.cli.fitted import Fitted
from http_api.cli.services import registered_table
from http_api.cli.sessions import sessions_table
from session_manager_client.models import (
    FeedHealth,
    FeedItem,
    FeedSnapshot,
    ForgottenSession,
    RemovedService,
    ServiceInfo,
    SessionInfo,
)

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

SHOWN = 50
"""The number of sessions shown."""
SERVICES_SHARE = 0.3
"""Share of the terminal's height reserved for services when there are many sessions."""
FAILING = {"away": "been unavailable", "refuses_writes": "refused writes"}
"""What an upstream has done since a while."""


@dataclass(slots=True)
class Overview:
    sessions: dict[str, SessionInfo] = field(default_factory=dict)
    services: dict[str, ServiceInfo] = field(default_factory=dict)
    """Empty if the caller may not see services."""
    health: FeedHealth | None = None

    def take(self, data: FeedItem) -> list[SessionInfo]:
        """Apply one event of the feed. Returns the sessions that changed, oldest first; for the first snapshot, at most
        SHOWN of them."""
        match data:
            case FeedSnapshot():
                most = SHOWN if self.health is None else None
                before, self.sessions = self.sessions, {session.session_id: session for session in data.sessions}
                self.services = {service.service_id: service for service in data.services or ()}
                self.health = data.health
                return [one for one in self._newest_first()[:most][::-1] if before.get(one.session_id) != one]
            case SessionInfo():
                self.sessions[data.session_id] = data
                return [data]
            case ForgottenSession():
                self.sessions.pop(data.session_id, None)
            case ServiceInfo():
                self.services[data.service_id] = data
            case RemovedService():
                self.services.pop(data.service_id, None)
            case FeedHealth():
                self.health = data
        return []

    def newest(self) -> list[SessionInfo]:
        """The sessions shown, newest first."""
        return self._newest_first()[:SHOWN]

    def _newest_first(self) -> list[SessionInfo]:
        """Session ids sort by creation time."""
        return sorted(self.sessions.values(), key=lambda session: session.session_id, reverse=True)

    def unavailable(self) -> list[str]:
        """One line for each upstream that is unavailable, or refuses writes."""
        upstreams = () if self.health is None else self.health.dependencies
        return [
            f"{one.name} has {FAILING[one.state]} since {one.since}" + (f": {one.detail}" if one.detail else "")
            for one in upstreams
            if one.state in FAILING
        ]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Fit into the terminal's height: unavailable upstreams first, then sessions, then services."""
        from rich.segment import Segment
        from rich.text import Text

        line, inner = Segment.line(), options.update(height=None)
        unavailable = [Text(line, "bold red", no_wrap=True, overflow="ellipsis") for line in self.unavailable()]
        yield from unavailable
        height = options.max_height - len(unavailable) - 1  # the last line is the cursor's
        sessions = Fitted(self.newest(), sessions_table)
        services = Fitted([service for _, service in sorted(self.services.items())], registered_table)
        reserved = height * SERVICES_SHARE if self.services else 0.0
        drawn = sessions.lines(console, inner, height - reserved)
        if self.services and (below := services.lines(console, inner, height - len(drawn) - 1)):
            drawn += [[], *below]
        for segments in drawn:
            yield from [*segments, line]
