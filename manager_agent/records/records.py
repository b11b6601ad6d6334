"""Records: what LiveKit's rooms can't hold, as small values by kind and key.

PURE. The values are bytes of their owners, who put a version into each: a value that its owner can't read is skipped
and logged by the owner.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from manager_agent.frozen import Frozen

FROZEN = "another process of this deployment writes the records"


class Kind(StrEnum):
    """What a record is. The values are stored: they never change."""

    REGISTRATION = "registration"
    """A registered service, by its id."""
    ANSWER = "answer"
    """An answer kept for repeated requests, by its idempotency key."""
    DELIVERY = "delivery"
    """A callback that is not delivered yet, by the id of its event."""
    ENDED_SESSION = "ended_session"
    """A session that is over and can still be read, by its id."""
    ROOM_NAME = "room_name"
    """A room name that tokens reserve."""
    WRITER = "writer"
    """The turn of the process that writes the records. Not for their owners."""


@dataclass(frozen=True, slots=True)
class Record:
    kind: Kind
    key: str
    value: bytes
    expires_at: float | None = None
    """When it is forgotten, in seconds since the epoch by the clock of this process; None: never."""
    ahead: float | None = 0.0
    """Seconds by which the clock of this process is ahead of that of its writer; None: that can't be told. The instants
    in the value are by the writer's."""

    def is_live(self, now: float) -> bool:
        return self.expires_at is None or now < self.expires_at


class RecordStats(Frozen):
    pending: int = 0
    """Changes that are not durable yet."""
    is_failing: bool = False
    """Whether changes can't be made durable at the moment."""
    lost: int = 0
    """Changes that were given up: too many were pending, or they could not be written."""
    is_frozen: bool = False
    """Whether another process writes the records."""


Listener = Callable[[Record | None, str], None]
"""Told of a change by another replica: the record, None if it was deleted, and its key. The same change may be told
again, and one that was made before a change of this replica later than that."""
ReadAnew = Callable[[Set[str], bool], None]
"""Told, after every record was told to the Listener, which keys there are, and whether others may have been lost; if
they were not, other replicas have deleted them."""


class NewerRecords(Exception):
    """A newer version of the program has written the records. The message names the way back."""


class Records(Protocol):
    """The records of one deployment. All calls are made on one event loop."""

    is_shared: bool
    """Whether several replicas write these records at the same time."""

    async def start(self) -> None:
        """Raises NewerRecords."""

    async def aclose(self) -> None:
        """Make everything durable that was put, as far as that is possible, and stop."""

    async def load(self, kind: Kind) -> Sequence[Record]:
        """The durable records of this kind that have not expired, in the order in which their keys were first put."""

    def put(self, kind: Kind, key: str, value: bytes, expires_at: float | None = None) -> None:
        """Add or replace a record. It is queued, and written in the order of the calls."""

    def delete(self, kind: Kind, key: str) -> None:
        """Remove a record, in the same queue. One that does not exist is no error."""

    def listen(self, kind: Kind, listener: Listener, read_anew: ReadAnew | None = None) -> None:
        """Have what other replicas change told to `listener`, and have `read_anew` called when records were read anew,
        because some may have been lost, or changes missed. Call it before `start`. Records that are not shared have
        no other replicas."""

    async def last_writer(self) -> str:
        """The turn of the process that took over last. Empty if there was none, or it can't be read."""

    async def take_over(self, turn: str) -> None:
        """This process writes the records from now on: no process with a smaller turn does, and this one no more once
        one with a greater turn has taken over. Turns are compared as texts."""

    def freeze(self) -> None:
        """Another process writes the records from now on: what is put or deleted here later has no effect."""

    async def committed(self) -> None:
        """Return once everything that was put or deleted so far is durable; also if it can't be made durable at the
        moment, unless the records are shared: RedisAway is raised then, because no other replica knows of it yet. It
        stays pending.
        Raises NotActing if it may have had no effect, because another process writes the records."""

    @property
    def stats(self) -> RecordStats: ...
