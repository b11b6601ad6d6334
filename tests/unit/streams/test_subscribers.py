"""What is new to each reader of the feed: noted once, bounded, and made once for all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from http_api.access.principals import Principal, Scope
from http_api.models.responses import SessionView
from http_api.streams.feed import newest
from http_api.streams.rendered import RenderedSessions
from http_api.streams.subscribers import BACKLOG_MAX, News, Reader
from manager_agent.session import events as ev
from manager_agent.session.session import Session
from tests.unit.sessions import JOINS, START, a_session, after, managed

pytestmark = pytest.mark.unit

BOB, ADMIN = Principal("bob", frozenset({Scope.SESSIONS})), Principal("root", frozenset(Scope))


def session(session_id: str, owner: str = "bob", *, over: bool = False) -> Session:
    asked = replace(a_session(JOINS), session_id=session_id, owner=owner)
    return after(asked, ev.SessionClosed(START)) if over else asked


def test_a_session_that_changes_often_is_news_once_in_its_first_place() -> None:
    reader = Reader(BOB)
    for session_id in "abacab":
        reader.note(session_id)
    reader.note_health()
    assert reader.take() == News(("a", "b", "c"), services=(), health=True)
    assert reader.take() == News((), services=(), health=False)


def test_what_a_reader_is_told_at_this_moment_is_no_news_until_it_changes_again() -> None:
    reader = Reader(BOB)
    reader.note("a")
    reader.knows("a")
    assert not reader.has_news
    reader.note("a")
    assert reader.has_news


def test_a_service_that_changes_often_is_news_once_and_none_when_all_are_told() -> None:
    reader = Reader(ADMIN)
    for service_id in "aba":
        reader.note_service(service_id)
    reader.knows_service("a")
    assert reader.take() == News((), services=("b",), health=False)
    reader.note_service("c")
    reader.knows_services()
    assert not reader.has_news


async def test_who_is_far_behind_is_kept_no_more_and_told_to_come_back() -> None:
    reader, is_behind = Reader(BOB), []
    for session_id in [*map(str, range(BACKLOG_MAX)), "0", "one more"]:
        reader.note(session_id)
        is_behind.append(reader.is_behind)
    assert is_behind.index(True) == BACKLOG_MAX + 1
    await reader.wait()
    assert len(reader.take().sessions) == BACKLOG_MAX


def test_only_who_has_the_scope_sees_services() -> None:
    assert (Reader(BOB).sees_services, Reader(ADMIN).sees_services) == (False, True)


def test_a_caller_is_first_shown_his_own_those_that_live_before_those_that_are_over() -> None:
    """Given the oldest first, each newest first."""
    sessions = [session("1", over=True), session("2"), session("3", "eve"), session("4", over=True), session("5")]
    assert newest(sessions, BOB) == ["5", "2", "4", "1"]
    assert newest(sessions, ADMIN) == ["5", "3", "2", "4", "1"]


def test_a_session_is_made_json_once_for_each_revision() -> None:
    rendered, asked = RenderedSessions(), session("a")
    first = rendered.of(asked)
    assert first == SessionView.of(asked).model_dump_json()
    assert rendered.of(replace(asked, listed_at=START + 1)) is first
    changed = after(asked, *managed(), ev.SessionClosed(START + 1))
    assert rendered.of(changed) == SessionView.of(changed).model_dump_json()
    assert rendered.characters == len(rendered.of(changed))


def test_what_is_kept_of_them_is_bounded_and_can_be_made_again() -> None:
    sessions = [session(str(number)) for number in range(10)]
    size = len(RenderedSessions().of(sessions[0]))
    rendered = RenderedSessions(characters_max=3 * size)
    made = [rendered.of(one) for one in sessions]
    assert rendered.characters == 3 * size
    assert [rendered.of(one) is before for one, before in zip(sessions[-3:], made[-3:], strict=True)] == [True] * 3
    assert rendered.of(sessions[0]) == made[0]
    rendered.forget(sessions[0].session_id)
    rendered.forget("nobody")
    assert rendered.characters == 2 * size
    rendered.clear()
    assert rendered.characters == 0


def test_one_that_is_larger_than_all_that_is_kept_is_made_each_time() -> None:
    rendered, large = RenderedSessions(characters_max=100), session("a")
    assert rendered.of(large) == rendered.of(large)
    assert rendered.characters == 0
