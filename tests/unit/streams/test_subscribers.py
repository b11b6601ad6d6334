"""News for each reader of the feed: noted once, bounded, and rendered once for all readers."""

from __future__ import annotations

import pytest

from http_api.access.principals import Principal, Scope
from http_api.streams.feed import newest
from http_api.streams.subscribers import BACKLOG_MAX, News, Reader
from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.session import Session
from tests.unit.sessions import JOINS, START, a_session, after

pytestmark = pytest.mark.unit

BOB, ADMIN = Principal("bob", frozenset({Scope.SESSIONS})), Principal("root", frozenset(Scope))


def session(session_id: str, owner: str = "bob", *, over: bool = False) -> Session:
    asked = replace(a_session(JOINS), session_id=session_id, owner=owner)
    return after(asked, ev.SessionClosed(START)) if over else asked


def test_a_session_that_changes_often_is_queued_once_at_its_first_place() -> None:
    reader = Reader(BOB)
    for session_id in "abacab":
        reader.note(session_id)
    reader.note_health()
    assert reader.take() == News(("a", "b", "c"), services=(), health=True)
    assert reader.take() == News((), services=(), health=False)


def test_a_session_sent_to_a_reader_is_queued_again_only_when_it_changes() -> None:
    reader = Reader(BOB)
    reader.note("a")
    reader.knows("a")
    assert not reader.has_news
    reader.note("a")
    assert reader.has_news


def test_a_service_that_changes_often_is_queued_once() -> None:
    reader = Reader(ADMIN)
    for service_id in "aba":
        reader.note_service(service_id)
    reader.knows_service("a")
    assert reader.take() == News((), services=("b",), health=False)
    reader.note_service("c")
    reader.knows_services()
    assert not reader.has_news


async def test_a_reader_that_is_far_behind_is_dropped_and_told_to_reconnect() -> None:
    reader, is_behind = Reader(BOB), []
    for session_id in [*map(str, range(BACKLOG_MAX)), "0", "one more"]:
        reader.note(session_id)
        is_behind.append(reader.is_behind)
    assert is_behind.index(True) == BACKLOG_MAX + 1
    await reader.wait()
    assert len(reader.take().sessions) == BACKLOG_MAX


def test_services_are_sent_only_to_readers_with_the_scope() -> None:
    assert (Reader(BOB).sees_services, Reader(ADMIN).sees_services) == (False, True)


def test_a_reader_first_gets_its_own_sessions_live_ones_before_ended_ones() -> None:
    """Given the oldest first, each newest first."""
    sessions = [session("1", over=True), session("2"), session("3", "eve"), session("4", over=True), session("5")]
    assert newest(sessions, BOB) == ["5", "2", "4", "1"]
    assert newest(sessions, ADMIN) == ["5", "3", "2", "4", "1"]
