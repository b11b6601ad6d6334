"""Bounds how many managers join at the same time, lets new sessions go before them, and tells who is joining.

A join takes some 60 ms of CPU. When hundreds are begun at once, such as after a burst of new sessions, each takes so
long that most time out and are begun again. New sessions go first: their rooms and invites cost much less.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

JOINS_AT_ONCE, JOINS_MAX = 8, 24
"""Joins that others wait for, and all of them. Recovery begins fewer (MANAGERS_AT_ONCE in control/manager_turns.py)."""
HELD_MAX = 3.0
"""Seconds. A join that takes longer mostly waits for LiveKit. The next one may begin, up to JOINS_MAX, and the room may
be deleted."""
YIELD_MAX = 0.2
"""Seconds that a join waits at most for new sessions, which may follow each other without end: as long as LiveKit would
take to offer the job."""


class NewSessions:
    """The sessions whose rooms are being made, or whose services are being invited."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._none = asyncio.Event()
        self._none.set()

    def note(self, session_id: str, *, is_new: bool) -> None:
        if is_new:
            self._ids.add(session_id)
            self._none.clear()
        else:
            self._ids.discard(session_id)
            if not self._ids:
                self._none.set()

    async def pass_by(self, timeout: float) -> None:
        """Wait until there are none, up to `timeout` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._none.wait()


class JoinsUnderWay:
    """The joins that have begun, by session. They can't be called off."""

    def __init__(self) -> None:
        self._of_session: dict[str, set[asyncio.Future[None]]] = {}

    @contextmanager
    def of(self, session_id: str) -> Iterator[None]:
        """A manager of this session joins inside."""
        join = asyncio.get_running_loop().create_future()
        joins = self._of_session.setdefault(session_id, set())
        joins.add(join)
        try:
            yield
        finally:
            join.set_result(None)
            joins.remove(join)
            if not joins:
                del self._of_session[session_id]

    async def ended(self, session_id: str) -> None:
        """Wait for the joins that are under way, for at most HELD_MAX seconds."""
        if joins := self._of_session.get(session_id):
            await asyncio.wait(joins, timeout=HELD_MAX)


class JoinSlots:
    def __init__(self, new_sessions: NewSessions | None = None) -> None:
        self._new_sessions = new_sessions or NewSessions()
        self._free, self._all = asyncio.Semaphore(JOINS_AT_ONCE), asyncio.Semaphore(JOINS_MAX)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Let new sessions go first, wait for a slot, and hold it inside. It counts among JOINS_AT_ONCE for at most
        HELD_MAX seconds."""
        await self._new_sessions.pass_by(YIELD_MAX)
        async with self._all:
            await self._free.acquire()
            held = True

            def release() -> None:
                nonlocal held
                if held:
                    held = False
                    self._free.release()

            timer = asyncio.get_running_loop().call_later(HELD_MAX, release)
            try:
                yield
            finally:
                timer.cancel()
                release()
