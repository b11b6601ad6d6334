"""Follow the server-sent events of one session, or of everything, across broken connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from pydantic import TypeAdapter

from session_manager_client.calls import Calls, read
from session_manager_client.models import (
    FeedHealth,
    FeedItem,
    FeedSnapshot,
    ForgottenSession,
    ReadySession,
    RemovedService,
    ServiceInfo,
    SessionInfo,
)

PAUSE = 0.25
"""Seconds before reconnecting an event stream that broke off."""
PAUSE_MAX = 8.0
"""Seconds before reconnecting after several streams in a row that brought only a snapshot."""

SESSION: TypeAdapter[SessionInfo] = TypeAdapter(ReadySession | SessionInfo)
FEED_SHAPES: Mapping[str, TypeAdapter[Any]] = {
    "snapshot": TypeAdapter(FeedSnapshot),
    "session": TypeAdapter(SessionInfo),
    "forgotten": TypeAdapter(ForgottenSession),
    "service": TypeAdapter(ServiceInfo),
    "service_gone": TypeAdapter(RemovedService),
    "health": TypeAdapter(FeedHealth),
}
"""The type of each event of the feed. Other events come from a later version and are ignored."""


async def follow(calls: Calls, *path: str) -> AsyncGenerator[SessionInfo, None]:
    """Yield the session now and after each change, until it is over. Raises ApiError, Unreachable."""
    last, over, after = -1, False, ""
    while True:
        news = False
        async with calls.stream(*path, after=after) as events:
            if events is None:
                return
            async for event in events:
                after, session = event.id, read(event.data, SESSION, calls.url)
                if session.revision > last:
                    last, over, news = session.revision, session.ended_at is not None, True
                    yield session
        if not news and over:
            return
        if not news:
            await asyncio.sleep(PAUSE)


async def follow_all(calls: Calls, *path: str) -> AsyncGenerator[FeedItem, None]:
    """Yield the data of each event of the feed. Raises ApiError, Unreachable."""
    fruitless = 0
    while True:
        count, retry = 0, 0.0
        async with calls.stream(*path) as events:
            if events is None:
                return
            async for event in events:
                retry = event.retry
                if event.name in FEED_SHAPES:
                    count += 1
                    yield read(event.data, FEED_SHAPES[event.name], calls.url)
        fruitless = 0 if count > 1 else fruitless + 1
        await asyncio.sleep(pause_after(fruitless, retry))


def pause_after(fruitless: int, retry: float) -> float:
    """Seconds before reconnecting to the feed.

    `fruitless`: connections in a row that brought only a snapshot; `retry`: seconds that the server asked for. PURE.
    """
    return min(PAUSE_MAX, max(PAUSE, retry) * 2.0 ** min(fruitless - 1, 10)) if fruitless else PAUSE
