"""Records in Redis: shared by all replicas, which are told of each other's changes.

Changes are queued on the event loop and written in order, in groups, each by one script that also adds their entries to
the changelog. While Redis is away they stay pending, and are written once it is back; those who wait for them get
RedisAway meanwhile. A group whose answer was lost is written again: what is put twice is there once.

Whichever replica writes last wins. Where that is not enough, the listener of a kind merges (records.py, Listener). In
the end every replica was told of what is stored, also if that is its own and crossed another's (crossed_changes.py).

Instants are by the clock of the replica that wrote them, and compared with that of the one that reads: Record.ahead is
0. So the machines' clocks must agree to a few seconds. By as much a record may expire earlier or later at one replica
than at another; it is removed for all only EXPIRED_KEPT after it expired.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain

import structlog

from manager_agent.clock import Clock
from manager_agent.records.crossed_changes import CrossedChanges
from manager_agent.records.listeners import RecordListeners
from manager_agent.records.pending_changes import PendingChanges, Place, RecordChange, groups_of
from manager_agent.records.record_entries import StoredRecord, arguments_of, read_entry, read_stored
from manager_agent.records.records import Kind, Listener, ReadAnew, Record, RecordStats
from manager_agent.records.written_changes import WrittenChanges
from manager_agent.redis.changelog import ChangeLog, Entry
from manager_agent.redis.connection import RedisAway, RedisConnection
from manager_agent.redis.entry_ids import order_of
from manager_agent.redis.script import load_script
from manager_agent.tasks import Tasks

log = structlog.get_logger()

RETRY = 0.5
"""Seconds until Redis is tried again."""
PATIENCE = 5.0
"""The most seconds that anyone waits for Redis."""
READ_AT_ONCE = 200
SWEEP_INTERVAL = 60.0
"""Seconds between two removals of expired records."""
SWEPT_AT_ONCE = 500
EXPIRED_KEPT = 60.0
"""Seconds for which expired records are kept, as clocks differ."""
NOT_KEPT = "what is recorded meanwhile is known to this replica only, and lost if the process ends"
CHANGE, DELETE = load_script("change_records"), load_script("delete_records")
SWEEP = load_script("sweep_records")


class RedisRecords:
    is_shared = True

    def __init__(
        self,
        connection: RedisConnection,
        changelog: ChangeLog,
        clock: Clock,
        replica_id: str,
        *,
        pending: PendingChanges | None = None,
        retry: float = RETRY,
    ) -> None:
        """`replica_id`: names this process among all that write the records."""
        self._connection, self._changelog = connection, changelog
        self._clock, self._replica_id, self._retry = clock, replica_id, retry
        self._pending = PendingChanges() if pending is None else pending
        self._written, self._listeners = WrittenChanges(), RecordListeners()
        self._crossed = CrossedChanges(self._last_change)
        self._epoch: bytes | None = None
        """Of Redis, when the records were last read anew."""
        self._changed_meanwhile: set[Place] | None = None
        """What this replica changes while the records are being read; None while they are not."""
        self._reading = asyncio.Lock()
        self._writing = asyncio.Lock()
        self._under_way: dict[Place, RecordChange] = {}
        """The changes that are being written, which are no longer pending."""
        self._waiting: list[asyncio.Future[bool]] = []
        self._wanted = asyncio.Event()
        self._away: RedisAway | None = None
        """Why the last group was not written."""
        self._given_up = 0
        """Of the pending changes that were given up, those whose owners have put them back."""
        self._faults = 0
        """Changes that could not be written because of an error in this program."""
        self._swept_at = 0.0
        self._tasks = Tasks()
        changelog.subscribe("record", self._apply, self._read_anew)

    @property
    def stats(self) -> RecordStats:
        return RecordStats(
            len(self._pending) + len(self._under_way), self._away is not None, self._pending.lost + self._faults
        )

    async def start(self) -> None:
        self._swept_at = self._clock()
        self._tasks.spawn(self._run(), name="records", for_all=True)

    async def aclose(self) -> None:
        await self._tasks.aclose()
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await self._write()
        if self._pending:
            log.error("records_not_written", changes=len(self._pending), to="redis")

    async def load(self, kind: Kind) -> Sequence[Record]:
        """None while Redis is away; who listens is told of them once it is back."""
        try:
            return await self.read(kind)
        except RedisAway as error:
            log.error(
                "records_not_read", kind=kind, why=str(error), hint="they are read once Redis is back (REDIS_URL)"
            )
            return ()

    def put(self, kind: Kind, key: str, value: bytes, expires_at: float | None = None) -> None:
        self._add(RecordChange(kind, key, Record(kind, key, value, expires_at)))

    def delete(self, kind: Kind, key: str) -> None:
        self._add(RecordChange(kind, key, None))

    def listen(self, kind: Kind, listener: Listener, read_anew: ReadAnew | None = None) -> None:
        self._listeners.add(kind, listener, read_anew)

    async def last_writer(self) -> str:
        return ""

    async def take_over(self, turn: str) -> None:
        """Every replica writes."""

    def freeze(self) -> None:
        """Every replica writes."""

    def _add(self, change: RecordChange) -> None:
        self._pending.add(change)
        if self._changed_meanwhile is not None:
            self._changed_meanwhile.add(change.place)
        self._wanted.set()

    def _add_again(self, lost: RecordChange) -> None:
        """Redis has lost this change, unless a later one of its record is pending."""
        if self._pending.of(lost.place) is None:
            self._add(lost)

    def _last_change(self, place: Place) -> RecordChange | None:
        """Of this record by this replica; None once the changelog has shown it."""
        return self._pending.of(place) or self._under_way.get(place) or self._written.of(place)

    async def committed(self) -> None:
        """Raises RedisAway."""
        if not self.stats.pending:
            return
        if self._away is not None:
            raise RedisAway(f"the records are not written: {self._away}")
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self._wanted.set()
        await asyncio.wait([done], timeout=PATIENCE)
        if not done.done() or not done.result():
            raise RedisAway(f"the records are not written: {self._away or f'no answer for {PATIENCE:.0f} s'}")

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_INTERVAL):
                    await self._wanted.wait()
            await self._write()
            if self._away is not None:
                await asyncio.sleep(self._retry)
                continue
            try:
                await self._tidy()
            except Exception:  # it must not keep what is put from being written
                log.exception("records_fault", changes=0)
                self._swept_at = self._clock()

    async def _tidy(self) -> None:
        if self._given_up != self._pending.lost:
            await self._put_back_what_was_given_up()
        if self._clock() >= self._swept_at + SWEEP_INTERVAL:
            await self._sweep()

    async def _write(self) -> None:
        """Write what is pending, after what is being written."""
        async with self._writing:
            self._wanted.clear()
            changes, waiting, self._waiting = self._pending.take(), self._waiting, []
            self._under_way = {change.place: change for change in changes}
            is_full = self._away is not None and self._away.code == "OOM"
            groups, written, are_all_written = groups_of(changes, deletions_first=is_full), 0, False
            try:
                for group in groups:
                    await self._write_group(group)
                    written += 1
                are_all_written = True
            except RedisAway as error:
                self._failed(error)
            else:
                self._succeeded()
            finally:
                self._under_way = {}
                self._pending.give_back(chain.from_iterable(groups[written:]))
                for done in waiting:
                    if not done.done():
                        done.set_result(are_all_written)

    async def _write_group(self, group: Sequence[RecordChange]) -> None:
        keys, kinds = self._connection.keys, list(dict.fromkeys(change.kind for change in group))
        places = [place for kind in kinds for place in (keys.records(kind), keys.record_expiries(kind))]
        arguments = [self._replica_id, *arguments_of(group, kinds)]
        script = CHANGE if any(change.record is not None for change in group) else DELETE  # also from a full Redis
        try:
            entries = await self._connection.run(script, [keys.changes, *places], arguments)
        except RedisAway:
            raise
        except Exception:
            self._faults += len(group)
            log.exception("records_fault", changes=len(group))
        else:
            self._written.watch([one.decode() for one in entries], group, self._changelog.position)
            for change in group:
                del self._under_way[change.place]

    def _failed(self, why: RedisAway) -> None:
        """Log it, once until a write succeeds."""
        if self._away is None:
            log.error("records_not_kept", why=str(why), hint=NOT_KEPT)
        self._away = why
        self._wanted.set()

    def _succeeded(self) -> None:
        if self._away is not None:
            log.info("records_kept_again", lost=self._pending.lost)
        self._away = None

    async def read(self, kind: Kind) -> Sequence[Record]:
        """As `load`, but raises RedisAway."""
        found: dict[bytes, StoredRecord] = {}
        cursor, unreadable = b"0", 0
        while True:
            cursor, fields = await self._connection.call(
                "HSCAN", self._connection.keys.records(kind), cursor, "COUNT", READ_AT_ONCE
            )
            for key, stored in zip(fields[::2], fields[1::2], strict=True):
                try:
                    found[key] = read_stored(kind, key, stored)
                except ValueError:
                    unreadable += 1
            if int(cursor) == 0:
                break
        if unreadable:
            log.warning("records_unreadable", kind=kind, count=unreadable, why="not as this program stores records")
        now = self._clock()
        in_order = sorted(found.values(), key=lambda stored: stored.place)
        return [stored.record for stored in in_order if stored.record.is_live(now)]

    def _apply(self, entry: Entry) -> None:
        """A change that is in the changelog. Those of this replica are known, unless they crossed another."""
        try:
            change = read_entry(entry.fields)
        except ValueError:  # of a newer version of this program
            return
        place = change.kind, change.key
        for lost in self._written.seen(entry.id, place):
            self._add_again(lost)
        if change.replica != self._replica_id:
            self._crossed.told(place)
        elif not self._crossed.shown(place, change.record):
            return
        if change.record is None or change.record.is_live(self._clock()):
            self._listeners.tell(change.kind, change.record, change.key)

    async def _read_anew(self) -> None:
        """Raises RedisAway."""
        epoch, are_lost = await self._look_for_loss()
        written = self._written.take()
        for change in written if are_lost else ():
            self._add_again(change)
        await self._tell_all(are_lost=are_lost)
        self._epoch = epoch

    async def _put_back_what_was_given_up(self) -> None:
        given_up = self._pending.lost
        with suppress(RedisAway):
            await self._tell_all(are_lost=True)
            self._given_up = given_up

    async def _tell_all(self, *, are_lost: bool) -> None:
        """Tell the listeners of every record. Raises RedisAway."""
        async with self._reading:
            try:
                async with self._writing:
                    self._changed_meanwhile = self._pending.places()
                for kind in self._listeners.kinds:
                    records = await self.read(kind)
                    for record in records:
                        self._crossed.told((kind, record.key))
                    changed = {key for of_kind, key in self._changed_meanwhile if of_kind is kind}
                    keys = {record.key for record in records} | changed
                    self._listeners.tell_all(kind, records, keys, are_lost=are_lost)
            finally:
                self._changed_meanwhile = None

    async def _look_for_loss(self) -> tuple[bytes, bool]:
        """The epoch of Redis, and whether records may have been lost since they were last read. They were not if what
        followed our position is merely trimmed away: what is left of the changelog begins later."""
        keys, ours = self._connection.keys, self._changelog.position
        epoch, first = await self._connection.pipeline(
            [("GET", keys.epoch), ("XRANGE", keys.changes, "-", "+", "COUNT", 1)]
        )
        is_trimmed = bool(first) and order_of(first[0][0].decode()) > order_of(ours)
        return epoch, epoch != self._epoch or not is_trimmed

    async def _sweep(self) -> None:
        keys, now = self._connection.keys, self._clock()
        try:
            for kind in Kind:
                places = keys.records(kind), keys.record_expiries(kind)
                while await self._connection.run(SWEEP, places, [now - EXPIRED_KEPT, SWEPT_AT_ONCE]) == SWEPT_AT_ONCE:
                    pass
        except RedisAway:
            return
        self._swept_at = now
