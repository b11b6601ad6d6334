"""Opens the SQLite file with the records: made if there is none, set aside if it is damaged, refused if it is newer.

Blocking calls.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import structlog

from manager_agent.records.records import NewerRecords

log = structlog.get_logger()

SUFFIXES = ("", "-wal", "-shm")
"""Of the files that SQLite makes of it."""
VERSION = 1
"""Of the tables. It is raised when an older program could no longer read or write them."""
APPLICATION_ID = 0x4C4B534D
PRIVATE = 0o600
"""The file's mode: readable by us only, as the records have metadata of users and services."""
BUSY_TIMEOUT = 3.0
"""Seconds to wait for another process that writes."""
SCHEMA = (
    "CREATE TABLE record (place INTEGER PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL, expires_at REAL,"
    " value BLOB NOT NULL, machine TEXT NOT NULL, origin REAL NOT NULL, UNIQUE (kind, key))",
    "CREATE INDEX record_expires_at ON record (expires_at) WHERE expires_at IS NOT NULL",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {VERSION}",
)
COLUMNS = "SELECT place, kind, key, expires_at, value, machine, origin FROM record LIMIT 0"
DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
"""SQLite's codes for a damaged file; the last one: no such table or column."""


class DamagedFile(Exception):
    """The file is no database with records."""


def opened(path: Path) -> sqlite3.Connection:
    """A connection to the file, which is made if there is none. A damaged one is set aside first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(path.parent):
        try:
            return _checked(path)
        except DamagedFile as damaged:
            _set_aside(path, str(damaged))
            return _checked(path)


def _checked(path: Path) -> sqlite3.Connection:
    """Raises DamagedFile, NewerRecords."""
    with suppress(FileExistsError):  # never opened otherwise: closing it would end SQLite's locks in this process
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE))
    try:
        return _prepared(sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None), path)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise
        # On a read-only disk SQLite can't make the files that it needs beside this one. So it can still be read.
        uri = f"file:{quote(str(path))}?immutable=1"
        return _prepared(sqlite3.connect(uri, uri=True, isolation_level=None), path)


def _prepared(connection: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    try:
        if _is_new(connection):
            connection.execute("BEGIN IMMEDIATE")
            for statement in SCHEMA if _is_new(connection) else ():
                connection.execute(statement)
            connection.execute("COMMIT")
        if _pragma(connection, "application_id") != APPLICATION_ID:
            raise DamagedFile("it is the database of another program")
        refuse_newer(connection, path)
        if (found := _pragma(connection, "quick_check(1)")) != "ok":
            raise DamagedFile(str(found))
        connection.execute(COLUMNS)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
    except sqlite3.DatabaseError as error:
        connection.close()
        if error.sqlite_errorcode & 0xFF in DAMAGE:
            raise DamagedFile(str(error)) from None
        raise
    except BaseException:
        connection.close()
        raise
    return connection


def _is_new(connection: sqlite3.Connection) -> bool:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return bool(tables == 0 and _pragma(connection, "application_id") == 0)


def refuse_newer(connection: sqlite3.Connection, path: Path) -> None:
    """Raises NewerRecords."""
    if (version := _pragma(connection, "user_version")) > VERSION:
        raise NewerRecords(
            f"{path} (STATE_DIR) was written by a newer version of the session manager: its format is {version}, and"
            f" this version reads {VERSION}. Start the newer version again, or move the file away: then registrations,"
            " undelivered callbacks, kept answers and ended sessions are lost"
        )


def _pragma(connection: sqlite3.Connection, name: str) -> Any:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def _set_aside(path: Path, why: str) -> None:
    aside = f"{path}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    for suffix in SUFFIXES:
        with suppress(FileNotFoundError):
            os.rename(f"{path}{suffix}", f"{aside}{suffix}")
    hint = "restart the services that do not register again by themselves"
    log.error("records_damaged", file=str(path), why=why, set_aside=aside, hint=hint)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """No other process is in this block for this directory: two that set the same file aside would set aside the new
    one too. One that is frozen inside is not waited for longer than BUSY_TIMEOUT."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        until = time.monotonic() + BUSY_TIMEOUT
        while time.monotonic() < until:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:  # a file system without such locks
                break
        yield
    finally:
        os.close(handle)
