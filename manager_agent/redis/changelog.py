"""The log of changes: a stream in Redis with every change of the deployment, in one order. Each replica applies it to
its mirror.

A reader that blocks wakes at each change. What it, or a request that must be up to date, then reads is the answer of
one script: the entries after our position, if our position is still in the stream. If it is not, changes may be
missing: they were trimmed away, or Redis lost what it had, or went back to an earlier state. Then all is read anew.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Any, NamedTuple

import structlog

from manager_agent.redis.connection import RedisAway, RedisConnection
from manager_agent.redis.entry_ids import order_of
from manager_agent.redis.script import load_script

log = structlog.get_logger()

CAUGHT_UP_WITHIN = 2.0
"""Seconds for which a request waits to be up to date."""
BATCH = 100
"""Entries that are read at once."""
TURN = 0.005
"""Seconds for which entries are applied before others get their turn."""
BLOCKS = 1.0
"""Seconds for which the reader waits for a change; also how often it looks whether Redis lost something."""
AT_ONCE = 0.2
"""Seconds within which a failure leaves time for another try."""
PAUSE = 0.25
"""Seconds after a failure."""

REASONS = {"trimmed": "changes_missed", "lost": "redis_lost_data"}

READ_CHANGES = load_script("read_changes")


@dataclass(frozen=True)
class Entry:
    """A change. Its fields are those that the script told, without the kind."""

    id: str
    kind: str
    fields: Mapping[bytes, bytes]


class _Changes(NamedTuple):
    epoch: str
    last: str
    """The id of the last entry."""
    entries: list[Entry]
    state: str
    """whole; trimmed, lost: there is something missing before the entries."""


Apply = Callable[[Entry], None]
ReadAnew = Callable[[], Awaitable[None]]


class ChangeLog:
    """One per process. Subscribe, then start."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._appliers: dict[str, list[Apply]] = {}
        self._readers_anew: list[ReadAnew] = []
        self._epoch = ""
        self.position = "0-0"
        """The id of the last entry that was applied, or that was there when all was read anew."""
        self._looking = asyncio.Lock()
        self._next_look: asyncio.Task[None] | None = None
        """That of requests, while it has not begun."""
        self._looks: set[asyncio.Task[None]] = set()
        self._reader: asyncio.Task[None] | None = None
        self._is_closing = False
        self._is_level = False
        self._level_at = time.monotonic()

    def subscribe(self, kind: str, apply: Apply, read_anew: ReadAnew) -> None:
        """`apply` gets each change of this kind, in order; one may come again, so it changes nothing the second time.

        `read_anew` reads the whole state from Redis: at the start, and when changes may have been missed. It is called
        once for several kinds, and does not wait for `caught_up`."""
        self._appliers.setdefault(kind, []).append(apply)
        self.read_anew_with(read_anew)

    def read_anew_with(self, read_anew: ReadAnew) -> None:
        """The same for what no change tells of."""
        if read_anew not in self._readers_anew:
            self._readers_anew.append(read_anew)

    async def start(self) -> None:
        """Begin to read. `caught_up` tells when all has been read."""
        self._reader = asyncio.create_task(self._read(), name="changelog", context=contextvars.Context())

    async def aclose(self) -> None:
        self._is_closing = True
        tasks = [*self._looks, *([self._reader] if self._reader else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def lag(self) -> float:
        """For how many seconds changes may have been missing here; 0 when all that is known of was applied."""
        return 0.0 if self._is_level else time.monotonic() - self._level_at

    async def caught_up(self) -> None:
        """Return when everything is applied that was in Redis when this was called. Raises RedisAway, also after 2 s.

        All who call this before the next look at Redis share it."""
        if self._next_look is None:
            # Not in the context of the request that came first: what is logged is not about it.
            look = asyncio.create_task(self._shared_look(), name="changelog-look", context=contextvars.Context())
            self._next_look = look
            self._looks.add(look)
            look.add_done_callback(self._looked)
        try:
            async with asyncio.timeout(CAUGHT_UP_WITHIN):
                await asyncio.shield(self._next_look)
        except TimeoutError:
            raise RedisAway("the changes could not be read in time") from None

    # -- reading ---------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        while not self._is_closing:  # a cancellation may be lost in another library
            try:
                await self._look()
                await self._changed()
                self._is_level = False
            except RedisAway:  # logged
                self._is_level = False
                await asyncio.sleep(PAUSE)
            except Exception:
                self._is_level = False
                log.exception("changes_not_read")
                await asyncio.sleep(1.0)

    async def _changed(self) -> None:
        """Wait until there is a change after our position, or for BLOCKS seconds."""
        while True:
            position = self.position
            command = ("XREAD", "COUNT", 1, "BLOCK", round(BLOCKS * 1000), "STREAMS", self._connection.keys.changes)
            answer = await self._connection.call(*command, position, blocks=BLOCKS)
            # Another look may have applied it meanwhile.
            if answer is None or order_of(answer[0][1][0][0].decode()) > order_of(self.position):
                return

    async def _look(self) -> None:
        """Apply all changes that are in Redis now. Raises RedisAway."""
        async with self._looking:
            await self._catch_up()

    async def _shared_look(self) -> None:
        async with self._looking:
            self._next_look = None  # for those who come from now on it may be too early
            await self._catch_up()

    def _looked(self, look: asyncio.Task[None]) -> None:
        self._looks.discard(look)
        if not look.cancelled():
            look.exception()  # retrieved: all who waited may have given up

    async def _catch_up(self) -> None:
        target: str | None = None
        while target is None or order_of(self.position) < order_of(target):
            answer = await self._answer()
            if answer.state != "whole":
                await self._read_anew(answer)
                break
            target = target or answer.last
            await self._apply(answer.entries)
        self._is_level, self._level_at = True, time.monotonic()

    async def _answer(self) -> _Changes:
        args = (self._epoch, self.position, BATCH, token_hex(8))
        started = time.monotonic()
        try:
            answer = await self._run_read_changes(args)
        except RedisAway as away:
            # A connection that had ended. This may be done twice.
            if not away.is_uncertain or time.monotonic() - started > AT_ONCE:
                raise
            answer = await self._run_read_changes(args)
        epoch, last, entries, state = answer
        return _Changes(epoch.decode(), last.decode(), [_entry(one) for one in entries], state.decode())

    async def _run_read_changes(self, args: Sequence[str | int]) -> Any:
        keys = self._connection.keys
        return await self._connection.run(READ_CHANGES, (keys.epoch, keys.changes), args)

    async def _apply(self, entries: list[Entry]) -> None:
        turn_ends = time.monotonic() + TURN
        for entry in entries:
            for apply in self._appliers.get(entry.kind, ()):
                try:
                    apply(entry)
                except Exception:
                    log.exception("change_not_applied", kind=entry.kind, entry=entry.id)
            self.position = entry.id
            if time.monotonic() > turn_ends:
                await asyncio.sleep(0)
                turn_ends = time.monotonic() + TURN

    async def _read_anew(self, found: _Changes) -> None:
        """`found`: from before the state is read. Changes that are in the state too are applied again."""
        reason = "started" if not self._epoch else REASONS[found.state]
        started = time.monotonic()
        for read_anew in self._readers_anew:
            await read_anew()
        self._epoch, self.position = found.epoch, found.last
        log.info("state_read_anew", reason=reason, seconds=round(time.monotonic() - started, 3))


def _entry(answer: list[Any]) -> Entry:
    entry_id, flat = answer
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    return Entry(entry_id.decode(), fields.pop(b"k", b"").decode(errors="replace"), fields)
