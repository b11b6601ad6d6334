"""One session with its timeline, as one picture that is kept up to date."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from http_api.cli.sessions import headline, services_table
from http_api.cli.timeline_bars import Drawing
from http_api.client import ApiError, Client, Unreachable
from http_api.models.responses import SessionView
from manager_agent.tasks import Tasks

if TYPE_CHECKING:
    from rich.console import RenderableType

ASKED_AGAIN = 2.0
"""Seconds between two looks at a timeline in which something may change that changes nothing of the session."""


class OneSession:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._session: SessionView | None = None
        self._drawing: Drawing | None = None
        self._asking = asyncio.Lock()  # so that no older answer comes after a newer one

    async def take(self, session: SessionView) -> None:
        """The session as it is now. Raises Unreachable."""
        self._session = session
        with suppress(ApiError):  # it was forgotten at this moment
            await self._ask(session.session_id)

    @asynccontextmanager
    async def kept_up_to_date(self) -> AsyncIterator[None]:
        """In here the timeline is asked for from time to time as well, while that may bring something."""
        tasks = Tasks()
        tasks.spawn(self._ask_again(), name="timeline")
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

    async def _ask_again(self) -> None:
        while True:
            await asyncio.sleep(ASKED_AGAIN)
            if self._drawing is not None and self._drawing.timeline.may_change_unannounced:
                with suppress(ApiError, Unreachable):  # whoever follows the session says what is wrong
                    await self._ask(self._drawing.timeline.session_id)

    async def _ask(self, session_id: str) -> None:
        async with self._asking:
            self._drawing = Drawing(await self._client.timeline(session_id))
