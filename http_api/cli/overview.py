"""Everything that the feed has told so far, as one picture: what is away, the services, the newest sessions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from http_api.cli.fitted import Fitted
from http_api.cli.services import registered_table
from http_api.cli.sessions import sessions_table
from http_api.models.responses import ServiceView, SessionView
from http_api.streams.models import Forgotten, HealthView, ServiceGone, Snapshot, Told

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

SHOWN = 50
"""So many sessions, the newest."""
SERVICES_SHARE = 0.3
"""Of the height of the terminal, when there are many sessions."""


@dataclass(slots=True)
class Overview:
    sessions: dict[str, SessionView] = field(default_factory=dict)
    services: dict[str, ServiceView] = field(default_factory=dict)
    """None of them when the caller may not see any."""
    health: HealthView | None = None

    def take(self, told: Told) -> list[SessionView]:
        """Takes in what was told; the sessions that are now otherwise than was known, the oldest first. Of the first
        snapshot that is no more than SHOWN."""
        match told:
            case Snapshot():
                most = SHOWN if self.health is None else None
                before, self.sessions = self.sessions, {session.session_id: session for session in told.sessions}
                self.services = {service.service_id: service for service in told.services or ()}
                self.health = told.health
                return [one for one in self._newest_first()[:most][::-1] if before.get(one.session_id) != one]
            case SessionView():
                self.sessions[told.session_id] = told
                return [told]
            case Forgotten():
                self.sessions.pop(told.session_id, None)
            case ServiceView():
                self.services[told.service_id] = told
            case ServiceGone():
                self.services.pop(told.service_id, None)
            case HealthView():
                self.health = told
        return []

    def newest(self) -> list[SessionView]:
        """Those that are shown."""
        return self._newest_first()[:SHOWN]

    def _newest_first(self) -> list[SessionView]:
        """The ids of sessions sort by the time they were made."""
        return sorted(self.sessions.values(), key=lambda session: session.session_id, reverse=True)

    def troubles(self) -> list[str]:
        """A line for each thing that the server can't do without, and that is away."""
        upstreams = () if self.health is None else self.health.dependencies
        return [
            f"{one.name} is away since {one.since}" + (f": {one.detail}" if one.detail else "")
            for one in upstreams
            if one.state == "away"
        ]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """No higher than the terminal: what is away comes first, then the sessions, then the services."""
        from rich.segment import Segment
        from rich.text import Text

        line, inner = Segment.line(), options.update(height=None)
        troubles = [Text(trouble, "bold red", no_wrap=True, overflow="ellipsis") for trouble in self.troubles()]
        yield from troubles
        room = options.max_height - len(troubles) - 1  # the last line is the cursor's
        sessions = Fitted(self.newest(), sessions_table)
        services = Fitted([service for _, service in sorted(self.services.items())], registered_table)
        least = room * SERVICES_SHARE if self.services else 0.0
        drawn = sessions.lines(console, inner, room - least)
        if self.services and (below := services.lines(console, inner, room - len(drawn) - 1)):
            drawn += [[], *below]
        for segments in drawn:
            yield from [*segments, line]
