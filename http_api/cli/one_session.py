"""A live view of one session and its timeline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from http_api.cli.sessions import headline, services_table
from http_api.cli.timeline_bars import Drawing
from manager_agent.tasks import Tasks
from session_manager_client import ApiError, Client, Unreachable
from session_manager_client.models import SessionInfo, TimelineInfo

if TYPE_CHECKING:
    from rich.console import RenderableType

TIMELINE_INTERVAL = 2.0
"""Seconds between two requests for a timeline that may change although the session does not."""


def may_change_unannounced(timeline: TimelineInfo) -> bool:
    """Whether it may change without a new revision of the session: when the manager joins, how often an invite was
    sent, when it is sent again."""
    is_managed = any(step.name == "manager_joined" for step in timeline.steps)
    return timeline.ended_at is None and (not is_managed or any(attempt.late for attempt in timeline.attempts))


class OneSession:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._session: SessionInfo | None = None
        self._drawing: Drawing | None = None
        self._fetching = asyncio.Lock()  # an older response must not overwrite a newer one

    async def take(self, session: SessionInfo) -> None:
        """Show this state of the session and fetch its timeline. Raises Unreachable."""
        self._session = session
        with suppress(ApiError):  # the server may have just dropped the session
            await self._fetch(session.session_id)

    @asynccontextmanager
    async def refreshing(self) -> AsyncIterator[None]:
        """Inside, also fetch the timeline on a timer while it may change unannounced."""
        tasks = Tasks()
        tasks.spawn(self._refresh(), name="timeline")
        try:
            yield
        finally:
            await tasks.aclose()

    def picture(self) -> RenderableType:
        from rich.console import Group

        if self._session is None:
            return ""
        timeline = () if self._drawing is None else ("", self._drawing)
        return Group(headline(self._session), services_table(self._session), *timeline)

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(TIMELINE_INTERVAL)
            if self._drawing is not None and may_change_unannounced(self._drawing.timeline):
                with suppress(ApiError, Unreachable):  # the stream of session events reports these errors
                    await self._fetch(self._drawing.timeline.session_id)

    async def _fetch(self, session_id: str) -> None:
        async with self._fetching:
            self._drawing = Drawing(await self._client.timeline(session_id))
