"""Sessions rendered as JSON: once for each revision, and in bounded memory."""

from __future__ import annotations

import pytest

from http_api.models.rendered import RenderedSessions
from http_api.models.responses import SessionView
from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.session import Session
from manager_agent.store.store import Change
from tests.unit.sessions import JOINS, START, a_session, after, managed

pytestmark = pytest.mark.unit


def session(session_id: str) -> Session:
    return replace(a_session(JOINS), session_id=session_id)


def test_a_session_is_rendered_once_for_each_revision() -> None:
    rendered, asked = RenderedSessions(), session("a")
    first = rendered.of(asked)
    assert first == SessionView.of(asked).model_dump_json()
    assert rendered.of(replace(asked, listed_at=START + 1)) is first
    changed = after(asked, *managed(), ev.SessionClosed(START + 1))
    assert rendered.of(changed) == SessionView.of(changed).model_dump_json()
    assert rendered.characters == len(rendered.of(changed))


def test_the_cache_of_rendered_sessions_is_bounded() -> None:
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


def test_a_session_larger_than_the_render_cache_is_rendered_each_time() -> None:
    rendered, large = RenderedSessions(characters_max=100), session("a")
    assert rendered.of(large) == rendered.of(large)
    assert rendered.characters == 0


def test_a_rendered_session_is_forgotten_when_it_is_removed() -> None:
    rendered, asked = RenderedSessions(), session("a")
    rendered.of(asked)
    rendered.follow(Change("a", asked, asked))
    assert rendered.characters > 0
    rendered.follow(Change("a", asked, None))
    assert rendered.characters == 0


def test_a_rendered_session_is_forgotten_when_redis_has_another_under_its_revision() -> None:
    rendered, asked = RenderedSessions(), session("a")
    lost, written = (
        after(asked, *managed(), event) for event in (ev.SessionClosed(START + 1), ev.SessionClosed(START + 2))
    )
    assert lost.revision == written.revision
    rendered.of(lost)
    rendered.follow(Change("a", lost, written, is_remote=True))
    assert rendered.of(written) == SessionView.json_of(written)


def test_a_session_that_redis_has_set_back_is_rendered_anew() -> None:
    rendered, asked = RenderedSessions(), session("a")
    lost, written = (
        after(asked, *managed(), event) for event in (ev.SessionClosed(START + 1), ev.SessionClosed(START + 2))
    )
    rendered.of(lost)
    rendered.follow(Change("a", lost, asked, is_remote=True))
    rendered.follow(Change("a", asked, written, is_remote=True))
    assert rendered.of(written) == SessionView.json_of(written)
