"""Records in one SQLite file: they survive the process.

Changes are queued on the event loop and written by a thread of their own. What is put while a transaction is written is
written together by the next one, so that one sync of the disk serves all who wait. A disk that refuses stops nothing:
the changes stay pending, and are written once it takes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import structlog

from manager_agent.clock import Clock
from manager_agent.clock_origin import ClockOrigin
from manager_agent.not_acting import NotActing
from manager_agent.records.disk_thread import DiskThread
from manager_agent.records.pending_changes import PendingChanges, RecordChange
from manager_agent.records.records import FROZEN, Kind, Listener, NewerRecords, ReadAnew, Record, RecordStats
from manager_agent.records.sqlite_file import FILE, DiskRefused, SqliteFile, WrittenByAnother
from manager_agent.tasks import Tasks

log = structlog.get_logger()

T = TypeVar("T")

RETRY = 5.0
"""Seconds until a disk that refused is tried again."""
PATIENCE = 5.0
"""The most seconds that anyone waits for the disk."""
SWEEP_INTERVAL = 60.0
"""Seconds between two removals of expired records."""
NOT_KEPT = "what is recorded meanwhile is lost if the process ends (STATE_DIR)"


class SqliteRecords:
    is_shared = False

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        origin: ClockOrigin | None = None,
        *,
        pending: PendingChanges | None = None,
        retry: float = RETRY,
    ) -> None:
        """`directory`: the STATE_DIR, which is made if it does not exist. `origin`: of the clock, to compare it with
        those of the processes that wrote the file."""
        self._path, self._file = directory / FILE, SqliteFile(directory, origin)
        self._clock, self._retry = clock, retry
        self._pending = PendingChanges() if pending is None else pending
        self._writing: asyncio.Task[None] | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._wanted = asyncio.Event()
        self._is_failing = self._is_silent = self._is_frozen = self._must_claim = False
        """Silent: it was waited for as long as PATIENCE, and has not answered since."""
        self._faults = 0
        """Changes that could not be written for another reason than the disk."""
        self._swept_at = 0.0
        self._thread = DiskThread("records")
        self._tasks = Tasks()

    @property
    def stats(self) -> RecordStats:
        return RecordStats(
            len(self._pending), self._is_failing, self._pending.lost + self._faults, is_frozen=self._is_frozen
        )

    async def start(self) -> None:
        """Raises NewerRecords. Any other failure is logged, and the file tried again."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._in_thread(lambda: self._file.write((), self._clock(), sweep=True))
        except TimeoutError:
            self._fell_silent()
        except DiskRefused as error:
            self._failed(str(error))
        else:
            log.info("records_opened", file=str(self._path))
        self._swept_at = self._clock()
        self._tasks.spawn(self._run(), name="records")

    async def aclose(self) -> None:
        await self._tasks.aclose()
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                if self._pending or self._writing is not None:
                    await self._write()
                await self._in_thread(self._file.close)
        if self._pending or self._writing is not None:
            log.error("records_not_written", changes=len(self._pending), file=str(self._path))
        self._thread.shutdown()

    async def load(self, kind: Kind) -> Sequence[Record]:
        try:
            async with asyncio.timeout(0 if self._is_silent else PATIENCE):
                return await self._in_thread(lambda: self._file.read(kind, self._clock()))
        except (TimeoutError, DiskRefused, NewerRecords) as error:
            self._is_silent |= isinstance(error, TimeoutError)
            hint = "what it has is known after a restart, once it can be read (STATE_DIR)"
            log.error("records_not_read", kind=kind, file=str(self._path), why=str(error) or _silence(), hint=hint)
            return ()

    def put(self, kind: Kind, key: str, value: bytes, expires_at: float | None = None) -> None:
        self._add(RecordChange(kind, key, Record(kind, key, value, expires_at)))

    def delete(self, kind: Kind, key: str) -> None:
        self._add(RecordChange(kind, key, None))

    def listen(self, kind: Kind, listener: Listener, read_anew: ReadAnew | None = None) -> None: ...

    async def last_writer(self) -> str:
        return "".join([record.value.decode() for record in await self.load(Kind.WRITER)])

    async def take_over(self, turn: str) -> None:
        self._file.turn, self._must_claim = turn, True
        try:
            async with asyncio.timeout(0 if self._is_silent else PATIENCE):
                await self._write()
        except TimeoutError:
            self._fell_silent()

    def freeze(self) -> None:
        self._is_frozen = True

    def _add(self, change: RecordChange) -> None:
        if self._is_frozen:
            return
        self._pending.add(change)
        self._wanted.set()

    async def committed(self) -> None:
        if not self._is_failing and (self._pending or self._writing is not None):
            done = asyncio.get_running_loop().create_future()
            self._waiting.append(done)
            self._wanted.set()
            await asyncio.wait([done], timeout=PATIENCE)
            if not done.done():
                self._fell_silent()
        if self._is_frozen:
            raise NotActing(FROZEN)

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_INTERVAL):
                    await self._wanted.wait()
            await self._write()
            if self._is_failing:
                await asyncio.sleep(self._retry)

    async def _write(self) -> None:
        """Write what is pending, after what is being written."""
        while self._writing is not None:
            await asyncio.wait([self._writing])
        self._writing = asyncio.create_task(self._write_pending())
        await asyncio.shield(self._writing)  # a thread can't be cancelled

    async def _write_pending(self) -> None:
        self._wanted.clear()
        changes, self._waiting, waiting = self._pending.take(), [], self._waiting
        now = self._clock()
        sweep = now >= self._swept_at + SWEEP_INTERVAL and not self._is_frozen
        try:
            if changes or sweep or self._is_failing or self._must_claim:
                await self._in_thread(lambda: self._file.write(changes, now, sweep=sweep))
        except WrittenByAnother:
            self._must_claim = False
            self.freeze()
            log.warning("records_superseded", changes=len(changes))
        except (DiskRefused, NewerRecords) as error:
            self._pending.give_back(changes)
            self._is_silent = False
            self._failed(str(error))
        except Exception:
            self._faults += len(changes)
            log.exception("records_fault", changes=len(changes))
        else:
            self._must_claim = False
            self._succeeded(swept_at=now if sweep else self._swept_at)
        finally:
            self._writing = None
            _release(waiting)

    def _failed(self, why: str) -> None:
        """Log it, once until a write succeeds."""
        if not self._is_failing:
            log.error("records_not_kept", file=str(self._path), why=why, hint=NOT_KEPT)
        self._is_failing = True
        self._wanted.set()
        _release(self._waiting)

    def _fell_silent(self) -> None:
        self._is_silent = True
        self._failed(_silence())

    def _succeeded(self, swept_at: float) -> None:
        self._swept_at = swept_at
        if self._is_failing:
            log.info("records_kept_again", file=str(self._path), lost=self._pending.lost)
        self._is_failing = self._is_silent = False

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


def _silence() -> str:
    return f"the disk has not answered for {PATIENCE:.0f} s"


def _release(waiting: list[asyncio.Future[None]]) -> None:
    for done in waiting:
        if not done.done():
            done.set_result(None)
    waiting.clear()
