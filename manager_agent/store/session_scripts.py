"""The writes of a session to Redis, each by one script (redis/lua/*_session.lua)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from manager_agent.records.pending_changes import RecordChange
from manager_agent.records.record_entries import arguments_of
from manager_agent.redis.connection import RedisConnection
from manager_agent.redis.script import load_script
from manager_agent.session.session import Session
from manager_agent.store.counters import CounterLimit, LimitOf, counters_of
from manager_agent.store.session_encoding import encode
from manager_agent.store.store import Change
from manager_agent.store.stored_session import STORED_FIELDS, Ownership, StoredSession, TakeIf, read_hash

ADD, UPDATE, REMOVE = load_script("add_session"), load_script("update_session"), load_script("remove_session")
PUT_BACK, TAKE = load_script("put_back_session"), load_script("take_session")


class Status(StrEnum):
    """What came of a write."""

    WRITTEN = "written"
    THERE = "there"
    """There is a session of this id already."""
    NAME_TAKEN = "name_taken"
    FULL = "full"
    CONFLICT = "conflict"
    """Another write was first."""
    UNKNOWN = "unknown"
    """There is no such session."""
    UNGUARDED = "unguarded"
    """What must be stored for it is not."""


@dataclass(frozen=True, slots=True)
class WriteAnswer:
    status: Status
    version: int = 0
    name_free_in: float = 0.0
    """Seconds until a name that is taken is free; 0 if that is not known."""
    counter: str = ""
    """The one that is full."""
    fence: int = 0
    """Of a session that was added."""


@dataclass(frozen=True, slots=True)
class Write:
    """One change that is to be written. `records`: the changes of records that belong to it."""

    name: str
    change: Change
    records: Sequence[RecordChange] = ()


@dataclass(frozen=True, slots=True)
class Guard:
    """A key, and the value that it must have for a session to be added."""

    key: str
    value: str


class SessionScripts:
    """All methods raise RedisAway. A write that is repeated with its name is carried out once."""

    def __init__(self, connection: RedisConnection, replica_id: str, limit_of: LimitOf = lambda _: None) -> None:
        self._connection, self._replica_id, self._limit_of = connection, replica_id, limit_of

    async def read(self, session_ids: Sequence[str]) -> list[StoredSession | ValueError | None]:
        """What is stored of these sessions: None where there is nothing, an error where it is damaged."""
        keys = self._connection.keys
        answers = await self._connection.pipeline(
            [("HMGET", keys.session(session_id), *STORED_FIELDS) for session_id in session_ids]
        )
        return [_stored(session_id, values) for session_id, values in zip(session_ids, answers, strict=True)]

    async def add(self, write: Write, *, holder: Session | None, guard: Guard | None = None) -> WriteAnswer:
        """`holder`: the session that had the room name before and no longer needs it."""
        session, is_restored = write.change.session, write.change.is_restored
        more = {
            "owner": self._replica_id,
            "created_at": repr(session.created_at),
            "holder": "" if holder is None else holder.session_id,
            "is_restored": is_restored,
            "limits": {} if is_restored else self._limits(write.change),
        }
        if guard is None:
            return await self._write(ADD, write, more)
        return await self._write(ADD, write, {**more, "guard": guard.value}, guard.key)

    async def update(self, write: Write, known: StoredSession) -> WriteAnswer:
        """`known`: what the change is made from."""
        more = {
            "version": known.version,
            "last_write": known.write,
            "owner": known.ownership.owner,
            "fence": known.ownership.fence,
            "limits": self._limits(write.change),
        }
        return await self._write(UPDATE, write, more)

    async def remove(self, write: Write, known: StoredSession, *, quarantine: float) -> WriteAnswer:
        """`quarantine`: seconds for which the room name stays taken."""
        more = {
            "version": known.version,
            "last_write": known.write,
            "quarantine": round(quarantine * 1000),
            "limits": {},
        }
        return await self._write(REMOVE, write, more)

    async def put_back(
        self, write: Write, version: int, ownership: Ownership, *, seen: StoredSession | None, has_name: bool
    ) -> WriteAnswer:
        """Store this version, as Redis has lost it. `seen`: what it has instead. `has_name`: whether the session is the
        last to have its room name."""
        more = {
            "version": version,
            "owner": ownership.owner,
            "fence": ownership.fence,
            "created_at": repr(write.change.session.created_at),
            "seen_version": "" if seen is None else str(seen.version),
            "seen_write": "" if seen is None else seen.write,
            "has_name": has_name,
            "limits": {},
        }
        return await self._write(PUT_BACK, write, more)

    async def take(
        self, name: str, session_id: str, expected: Ownership, owner: str, *, only_if: TakeIf
    ) -> WriteAnswer:
        keys = self._connection.keys
        args = (session_id, expected.owner, expected.fence, owner, name, only_if.value)
        used = (keys.changes, keys.session(session_id), keys.leases, keys.leader, keys.replicas)
        return _answer(await self._connection.run(TAKE, used, args))

    def _limits(self, change: Change) -> dict[str, CounterLimit]:
        """The limits of the counters in which the session is counted from now on."""
        added = Counter(counters_of(change.after)) - Counter(counters_of(change.before))
        limits = {counter: self._limit_of(counter) for counter in added}
        return {counter: limit for counter, limit in limits.items() if limit is not None}

    async def _write(self, script: Any, write: Write, more: dict[str, Any], *more_keys: str) -> WriteAnswer:
        change, keys = write.change, self._connection.keys
        session, session_id = change.session, change.session_id
        kinds = list(dict.fromkeys(record.kind for record in write.records))
        wanted = {
            "write": write.name,
            "replica": "",  # so that this replica is told of the records too, when they are certainly written
            "session_id": session_id,
            "room_name": session.room_name,
            **more,
        }
        answer = await self._connection.run(
            script,
            (
                *(keys.changes, keys.session(session_id), keys.sessions, keys.counters),
                keys.room_name(session.room_name),
                *(key for kind in kinds for key in (keys.records(kind), keys.record_expiries(kind))),
                *more_keys,
            ),
            (
                json.dumps(wanted),
                b"" if change.after is None else encode(change.after),
                json.dumps(counters_of(change.after)),
                *arguments_of(write.records, kinds),
            ),
        )
        return _answer(answer)


def _answer(raw: Sequence[Any]) -> WriteAnswer:
    status = Status(raw[0].decode())
    if status is Status.FULL:
        return WriteAnswer(status, counter=raw[1].decode())
    if status is Status.NAME_TAKEN:
        return WriteAnswer(status, name_free_in=max(0, raw[1]) / 1000)
    version, fence = (*map(int, raw[1:]), 0, 0)[:2]
    return WriteAnswer(status, version, fence=fence)


def _stored(session_id: str, values: Sequence[bytes | None]) -> StoredSession | ValueError | None:
    try:
        return read_hash(session_id, values)
    except ValueError as error:
        return error
