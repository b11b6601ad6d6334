"""The streams that follow a session: what is new is rendered once, and written to all of them together.

Thousands may follow one session. A stream whose client keeps up is written to without a turn of the task that serves
it, which is woken only when it has to act: to wait for a slow client, or to end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol

from aiohttp import web

from http_api.models.rendered import RenderedSessions
from http_api.streams.event_stream import event_of
from manager_agent.session.session import Session
from manager_agent.store.store import Change, Store, UnknownSession
from manager_agent.tasks import Tasks

AT_ONCE = 100
"""Streams that are written to before yielding to the event loop."""


class EventSink(Protocol):
    """What it needs of an EventStream."""

    async def send(self, data: str, *, id: str) -> None: ...

    def send_now(self, event: bytes) -> bool: ...


class Follower:
    """A stream that waits for the next change of a session."""

    __slots__ = ("_stream", "seen", "woken")

    def __init__(self, stream: EventSink, seen: str | None) -> None:
        """`seen`: the revision that its client has."""
        self._stream, self.seen = stream, seen
        self.woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once its own task has to act."""

    def send(self, event: bytes, revision: str) -> None:
        """Send the event of this revision, or leave it to its own task."""
        if self.woken.done() or self.seen == revision:
            return
        try:
            is_sent = self._stream.send_now(event)
        except Exception:  # its own task finds out why, and ends that stream alone
            is_sent = False
        if is_sent:
            self.seen = revision
        else:
            self.wake()

    def wake(self) -> None:
        if not self.woken.done():
            self.woken.set_result(None)


class SessionFollowers:
    """`tell` is a listener for the store."""

    def __init__(self, store: Store, rendered: RenderedSessions) -> None:
        """`rendered` follows the store itself, before this does."""
        self._store, self._rendered = store, rendered
        self._waiting: dict[str, set[Follower]] = {}
        """By session id; no set is empty."""
        self._changed: dict[str, None] = {}
        """The sessions whose followers are still to be told."""
        self._telling: asyncio.Task[None] | None = None
        self._tasks = Tasks()
        self._is_over = False

    async def follow(self, stream: EventSink, session_id: str, seen: str | None) -> None:
        """Send the session whenever its revision differs from the one last `seen`, until it is over, no longer stored,
        or all streams are to end. Raises ConnectionError when the client is gone or does not keep up."""
        while (session := self._stored(session_id)) is not None:
            if str(session.revision) != seen:
                seen = str(session.revision)
                await stream.send(self._rendered.of(session), id=seen)
                continue
            if session.over or self._is_over:
                return
            del session  # it will be outdated, and thousands may wait
            follower = Follower(stream, seen)
            waiting = self._waiting.setdefault(session_id, set())
            waiting.add(follower)
            try:
                await follower.woken
            finally:
                waiting.discard(follower)
                if not waiting:
                    del self._waiting[session_id]
            seen = follower.seen

    def tell(self, change: Change) -> None:
        """Let those who follow the session be told of it, once for all changes that are made until then."""
        if change.session_id in self._waiting:
            self._changed[change.session_id] = None
            if self._telling is None or self._telling.done():
                self._telling = self._tasks.spawn(self._tell_changed(), name="session followers", for_all=True)

    def end(self) -> None:
        """End every stream, once it has sent the current state."""
        self._is_over = True
        for followers in self._waiting.values():
            self._wake(followers)

    async def aclose(self) -> None:
        await self._tasks.aclose()

    def _stored(self, session_id: str) -> Session | None:
        try:
            return self._store.get(session_id)
        except UnknownSession:
            return None

    async def _tell_changed(self) -> None:
        told = 0
        while self._changed:
            session_id = next(iter(self._changed))
            del self._changed[session_id]
            waiting = tuple(self._waiting.get(session_id, ()))
            for begin in range(0, len(waiting), AT_ONCE):
                followers = waiting[begin : begin + AT_ONCE]
                self._tell(session_id, followers)
                if (told := told + len(followers)) >= AT_ONCE:
                    told = 0
                    await asyncio.sleep(0)

    def _tell(self, session_id: str, followers: Sequence[Follower]) -> None:
        session = self._stored(session_id)
        if session is None or session.over:
            self._wake(followers)
            return
        revision = str(session.revision)
        try:
            event = event_of(self._rendered.of(session), id=revision)
        except Exception:  # it is the streams that break, each by itself
            self._wake(followers)
            return
        for follower in followers:
            follower.send(event, revision)

    @staticmethod
    def _wake(followers: Iterable[Follower]) -> None:
        for follower in followers:
            follower.wake()


FOLLOWERS = web.AppKey("FOLLOWERS", SessionFollowers)
