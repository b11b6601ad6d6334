"""The parts of the Python client that need no server: reading events and problems, its fields and its repr."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from http_api.errors import IdempotencyConflict, NotReady, RoomUnavailable, SessionOver
from http_api.models.requests import Body
from http_api.models.required_services import RequiredServiceEntry
from http_api.models.responses import SessionView
from http_api.models.services import RegisterService
from http_api.models.sessions import AddParticipant, CreateSession, UserGrants
from http_api.problems.table import API_ERRORS, TYPE
from http_api.streams.models import FeedEvent
from manager_agent.session import session
from manager_agent.session.session import EndReason, Session, User
from scripts.repository import ROOT
from session_manager_client import ApiError, Client, calls, client, errors, event_streams
from session_manager_client import fields as known
from session_manager_client.event_streams import PAUSE, PAUSE_MAX, pause_after
from session_manager_client.models import ReadySession, SessionInfo
from session_manager_client.sse import Event, EventReader
from tests.unit.session_manager_client.received import received
from tests.unit.sessions import a_session

pytestmark = pytest.mark.unit

PROXY = "http://proxy:3128"


def events_in(text: str) -> list[Event]:
    reader = EventReader()
    return [event for line in text.splitlines(keepends=True) if (event := reader.line(line))]


async def test_create_that_is_cancelled_twice_leaves_no_request_behind() -> None:
    """The server does not answer."""
    asked, gone = asyncio.Event(), asyncio.Event()

    async def only_read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1_024):
            asked.set()
        writer.close()
        gone.set()

    server = await asyncio.start_server(only_read, "127.0.0.1", 0)
    before = asyncio.all_tasks()
    async with Client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        creating = asyncio.create_task(client.create())
        await asked.wait()
        requests = {task for task in asyncio.all_tasks() - before if "Calls.ask" in repr(task.get_coro())}
        creating.cancel()
        await asyncio.sleep(0)
        creating.cancel()
        with pytest.raises(asyncio.CancelledError):
            await creating
        assert len(requests) == 1
        await asyncio.wait(requests, timeout=1)
        assert all(request.cancelled() for request in requests)
    await gone.wait()
    server.close()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_an_sse_event_ends_with_a_blank_line(end: str) -> None:
    lines = [
        "retry: 2000",
        "",
        ": heartbeat",
        "",
        "id: 7",
        "event: message",
        "data: {}",
        "",
        "data:a",
        "data: b",
        "",
        "data",
    ]
    assert events_in(end.join(lines)) == [Event("{}", "7", retry=2.0), Event("a\nb", "7", retry=2.0)]


@pytest.mark.parametrize("retry", ["", "soon", "-1", "1.5", "²", "9" * 5_000])
def test_an_sse_retry_is_read_only_if_it_is_all_digits(retry: str) -> None:
    assert events_in(f"retry: {retry}\n\ndata: a\n\n") == [Event("a", "")]


def test_client_reopens_an_event_stream_without_news_with_growing_pauses() -> None:
    """Not before the server's `retry`, and with an upper limit."""
    assert [pause_after(fruitless, 2.0) for fruitless in range(5)] == [PAUSE, 2, 4, PAUSE_MAX, PAUSE_MAX]
    assert [pause_after(fruitless, 0.0) for fruitless in (1, 2, 3)] == [PAUSE, 2 * PAUSE, 4 * PAUSE]
    assert (pause_after(10_000, 0.0), pause_after(1, 999_999.0)) == (PAUSE_MAX, PAUSE_MAX)


async def test_client_pauses_before_it_asks_again_for_a_session_that_is_not_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server that is stopping answers at once."""
    waiting = received(SessionView.of(a_session()), SessionInfo)
    token = {"server_url": "ws://livekit", "access_token": "token", "token_expires_at": waiting.ready_deadline}
    ready = ReadySession(**waiting.model_dump() | {"state": "ready"} | token)
    done, answers = list[object](), [waiting, waiting, ready]

    async def get(*_: object, **__: object) -> SessionInfo:
        done.append("asked")
        return answers.pop(0)

    async def sleep(seconds: float) -> None:
        done.append(seconds)

    monkeypatch.setattr(Client, "get", get)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    assert await Client().until_ready(waiting.session_id) == ready
    assert done == ["asked", client.PAUSE, "asked", client.PAUSE, "asked"]


def test_an_sse_event_name_holds_for_one_event() -> None:
    lines = ["event: health", "data: {}", "", "event: lost", "", "data: a", "", "event:", "data: b", ""]
    named = [(event.name, event.data) for event in events_in("\n".join(lines) + "\n")]
    assert named == [("health", "{}"), ("message", "a"), ("message", "b")]


def test_an_unfinished_sse_event_is_dropped() -> None:
    assert events_in("id: 7\ndata: {}\n") == []


@given(st.lists(st.text(alphabet=st.characters(exclude_characters="\r\n"))))
def test_the_sse_reader_accepts_any_line(lines: list[str]) -> None:
    reader = EventReader()
    for line in lines:
        reader.line(line)


@given(st.integers(100, 999), st.one_of(st.binary(), st.from_type(dict).map(lambda value: repr(value).encode())))
def test_an_error_response_without_a_problem_document_becomes_an_api_error(status: int, raw: bytes) -> None:
    problem = ApiError.of_answer(status, raw)
    assert problem.status == status
    assert str(status) in str(problem)
    assert problem.slug == ""


def test_a_problem_has_all_known_fields_and_ignores_unknown_ones() -> None:
    said = {
        "type": f"{TYPE}invalid",
        "title": "Invalid request",
        "status": 422,
        "detail": "1 field is invalid",
        "request_id": "req_1",
        "errors": [{"field": "room_name", "detail": "is too long", "new": 1}],
        "new": {},
    }
    problem = ApiError.of_answer(422, json.dumps(said).encode(), retry_after=3)
    assert str(problem) == ("Invalid request: 1 field is invalid; room_name: is too long (422, invalid, req_1)")
    assert (problem.retry_after, problem.services) == (3, ())


def test_a_problem_type_of_another_server_has_no_slug() -> None:
    raw = b'{"type": "https://proxy.example/probs/invalid", "title": "Bad gateway"}'
    assert (ApiError.of_answer(502, raw).slug, ApiError.of_answer(502, raw).title) == ("", "Bad gateway")


@pytest.mark.parametrize(
    ("reason", "problem"),
    [
        (EndReason.READY_TIMEOUT, NotReady),
        (EndReason.SERVICE_LOST, NotReady),
        (EndReason.ROOM_UNAVAILABLE, RoomUnavailable),
        (EndReason.CLOSED, SessionOver),
    ],
)
def test_client_error_for_an_ended_session_equals_the_servers_problem(
    reason: EndReason, problem: type[Exception]
) -> None:
    view = SessionView.of(Session("ses_1", "room-1", User("alice"), 0.0)).model_copy(update={"reason": reason})
    error = ApiError.of_session(received(view, SessionInfo))
    row = API_ERRORS[problem]
    assert (error.status, error.slug, error.title) == (row.status, row.slug, row.title)


def test_the_repr_of_a_client_shows_no_key() -> None:
    key = "sm_" + "k" * 43
    assert key not in repr(Client("http://localhost:8080", key))


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (known.SessionFields, CreateSession),
        (known.RequiredServiceFields, RequiredServiceEntry),
        (known.UserGrantFields, UserGrants),
        (known.ParticipantFields, AddParticipant),
        (known.ServiceFields, RegisterService),
    ],
)
def test_the_client_knows_every_field_that_the_server_takes(fields: type, body: type[Body]) -> None:
    assert set(fields.__annotations__) == set(body.model_fields)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (calls.STILL_RUNNING, API_ERRORS[IdempotencyConflict].slug),
        (errors.TYPE, TYPE),
        (client.GIVES_TOKENS, session.GIVES_TOKENS),
        (event_streams.FEED_SHAPES.keys(), set(FeedEvent)),
    ],
)
def test_the_client_has_the_words_of_the_server(said: object, meant: object) -> None:
    assert said == meant


def test_every_method_of_the_client_is_documented() -> None:
    documented = re.findall(r"`client\.(\w+)\(", (ROOT / "docs" / "api.md").read_text())
    assert sorted(documented) == sorted(name for name in vars(Client) if not name.startswith("_"))
