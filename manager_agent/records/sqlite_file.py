"""The SQLite file with the records: read and written. Blocking calls, all made in one thread.

Several processes may have it open, as during a rolling update. It must be on a local disk: SQLite's WAL does not work
on network file systems.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

from manager_agent.clock_origin import ClockOrigin
from manager_agent.records.pending_changes import RecordChange
from manager_agent.records.records import Kind, Record
from manager_agent.records.sqlite_opening import VERSION, DamagedFile, opened, refuse_newer

log = structlog.get_logger()

FILE = "session-manager.db"
PUT = (
    "INSERT INTO record (kind, key, expires_at, value, machine, origin) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (kind, key) DO UPDATE SET expires_at = excluded.expires_at, value = excluded.value,"
    " machine = excluded.machine, origin = excluded.origin"
)
DELETE = "DELETE FROM record WHERE kind = ? AND key = ?"
SWEEP = "DELETE FROM record WHERE expires_at + CASE WHEN machine = ? THEN ? - origin ELSE 0 END <= ?"
"""Decision 0031: an instant of another process of this machine is compared with our clock by the origins of both."""
LOAD = "SELECT key, value, expires_at, machine, origin FROM record WHERE kind = ? ORDER BY place"
WRITER = "SELECT value FROM record WHERE kind = ? AND key = ''"
NO_ORIGIN = ClockOrigin("", 0.0)
"""Of a clock that can't be compared with those of other processes."""


class DiskRefused(Exception):
    """The file can't be opened, read or written at the moment."""


class WrittenByAnother(Exception):
    """A process with a greater turn writes the file: nothing was written."""


class SqliteFile:
    """The file in this directory, not open. Its methods raise DiskRefused."""

    def __init__(self, directory: Path, origin: ClockOrigin | None = None) -> None:
        """`origin`: of the clock by which the instants in the records are."""
        self.path, self._origin = directory / FILE, origin or NO_ORIGIN
        self.turn = ""
        """Of this process, as text; empty: it writes as long as no process has a turn, or before it has one."""
        self._connection: sqlite3.Connection | None = None
        self._inode = 0

    def read(self, kind: Kind, now: float) -> Sequence[Record]:
        """The records of this kind that have not expired. Raises NewerRecords."""
        with self._open() as connection:
            rows = connection.execute(LOAD, (kind,)).fetchall()
        records = (
            self._record(kind, key, bytes(value), expires_at, ClockOrigin(machine, at))
            for key, value, expires_at, machine, at in rows
        )
        return [record for record in records if record.is_live(now)]

    def _record(self, kind: Kind, key: str, value: bytes, expires_at: float | None, origin: ClockOrigin) -> Record:
        """The record by our clock. `origin`: of the one that it was written by."""
        ahead = self._origin.ahead_of(origin) if origin.machine else None
        return Record(kind, key, value, None if expires_at is None else expires_at + (ahead or 0.0), ahead)

    def write(self, changes: Sequence[RecordChange], now: float, *, sweep: bool) -> None:
        """Make these changes durable, all or none. `sweep`: remove expired records too. Raises NewerRecords,
        WrittenByAnother."""
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            refuse_newer(connection, self.path)
            if self.turn:
                self._claim(connection)
            for change in changes:
                if change.record is None or change.is_anew:
                    connection.execute(DELETE, (change.kind, change.key))
                if (record := change.record) is not None:
                    of_clock = self._origin.machine, self._origin.at
                    connection.execute(PUT, (record.kind, record.key, record.expires_at, record.value, *of_clock))
            if sweep:
                connection.execute(SWEEP, (self._origin.machine or None, self._origin.at, now))
            if not changes:  # something is written, to see whether the disk takes it
                connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")

    def _claim(self, connection: sqlite3.Connection) -> None:
        """Put our turn in place of a smaller one. Raises WrittenByAnother if there is a greater one."""
        found = connection.execute(WRITER, (Kind.WRITER,)).fetchone()
        writer = "" if found is None else bytes(found[0]).decode()
        if writer > self.turn:
            raise WrittenByAnother(writer)
        if writer < self.turn:
            connection.execute(PUT, (Kind.WRITER, "", None, self.turn.encode(), NO_ORIGIN.machine, NO_ORIGIN.at))

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The connection. It is closed if the block fails, and opened and checked again by the next one."""
        try:
            if self._connection is not None and _inode(self.path) != self._inode:
                hint = "what it had is lost; leave STATE_DIR alone"
                log.error("records_file_replaced", file=str(self.path), hint=hint)
                self.close()
            if self._connection is None:
                self._connection, self._inode = opened(self.path), _inode(self.path)
            yield self._connection
        except (OSError, sqlite3.Error, DamagedFile) as error:
            self.close()
            if isinstance(error, sqlite3.DataError | sqlite3.ProgrammingError | sqlite3.IntegrityError):
                raise  # a fault of what is written
            raise DiskRefused(str(error)) from error
        except BaseException:
            self.close()
            raise


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0
