"""Keeps ended sessions readable after a restart, by the records.

A session is recorded when it ends, before its room is deleted, and again when its room is deleted. Until then the next
process deletes the room. One that is found in its room, over, is recorded too: no process may have done so.
"""

from __future__ import annotations

import structlog

from manager_agent.control.orchestrator import Orchestrator
from manager_agent.frozen import Frozen, replace
from manager_agent.frozen_json import FrozenJson
from manager_agent.records.records import Kind, Records
from manager_agent.records.values import Values
from manager_agent.session.plan import NAME_QUARANTINE, UNCLEANED_KEPT
from manager_agent.session.session import End, Limits, Session
from manager_agent.shifted_instants import shifted
from manager_agent.store.store import Change, Store

log = structlog.get_logger()


class EndedSession(Frozen):
    session: Session


def _shifted(ended: EndedSession, seconds: float) -> EndedSession:
    return shifted(ended, seconds, except_in=(Limits,))


VALUES = Values(Kind.ENDED_SESSION, 1, FrozenJson(EndedSession), shift=_shifted)


class EndedRecords:
    """`tell` is a listener of the store."""

    def __init__(self, records: Records, store: Store, orchestrator: Orchestrator) -> None:
        self._records, self._store, self._orchestrator = records, store, orchestrator

    async def restore(self) -> None:
        """Restore the ended sessions of an earlier process. Call it before its live sessions are recovered: one of them
        may have the room name of an ended one."""
        kept = VALUES.read(await self._records.load(Kind.ENDED_SESSION))
        known = {session.session_id for session in self._store.list()}
        unknown = [value.session for session_id, value in kept.items() if session_id not in known]
        for session in unknown:
            await self._orchestrator.resume(_resumed(session), recorded=None)
        if unknown:
            log.info("ended_sessions_restored", sessions=len(unknown))

    def tell(self, change: Change) -> None:
        before, after = change.before, change.after
        if after is None:
            if before is not None and _is_kept(before):
                self._records.delete(Kind.ENDED_SESSION, change.session_id)
        elif _is_kept(after) and not _is_recorded(change) and _facts(after) != (before and _facts(before)):
            end = after.end
            assert end is not None
            expires_at = end.at + max(after.limits.retention, UNCLEANED_KEPT) + NAME_QUARANTINE
            value = VALUES.write(EndedSession(after))
            self._records.put(Kind.ENDED_SESSION, change.session_id, value, expires_at=expires_at)


def _is_kept(session: Session) -> bool:
    """Whether it is over. One whose room may still be created is not recorded: its room is found and deleted."""
    return session.over and not session.room.in_flight and not session.room.is_refused_name and bool(session.owner)


def _is_recorded(change: Change) -> bool:
    """Whether the session is known from its record. One that is not cleaned up may be known from its room."""
    return change.is_restored and change.session.is_cleaned_up


def _facts(session: Session) -> tuple[bool, float | None]:
    """What an ended session is recorded for again when it changes."""
    return _is_kept(session), None if session.end is None else session.end.cleaned_at


def _resumed(session: Session) -> Session:
    """The session to continue: a clean-up that was under way begins again."""
    end = session.end
    assert end is not None, "only ended sessions are recorded"
    if end.cleaned_at is not None:
        return session
    return replace(session, end=End(end.reason, end.at))
