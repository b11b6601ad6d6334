"""The values of records: written, read, and skipped when they can't be read."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from manager_agent.control.ended_records import VALUES, EndedSession
from manager_agent.frozen import replace
from manager_agent.json_object import JsonObject
from manager_agent.records.records import Kind, Record
from manager_agent.records.values import ModelJson, Values
from manager_agent.session import events as ev
from manager_agent.session.events import Evidence, Refusal
from manager_agent.session.session import Limits, Session, User
from tests.unit import sessions as given
from tests.unit.sessions import START

pytestmark = pytest.mark.unit

NUMBERS = Values(Kind.ANSWER, 2, ModelJson(dict[str, int]))


def records(*values: bytes) -> list[Record]:
    return [Record(Kind.ANSWER, f"k{number}", value) for number, value in enumerate(values)]


def test_values_come_back_by_the_keys_of_their_records() -> None:
    written = [NUMBERS.write({"a": 1}), NUMBERS.write({})]
    assert NUMBERS.read(records(*written)) == {"k0": {"a": 1}, "k1": {}}


def test_values_that_can_not_be_read_are_skipped_and_logged_once_without_their_content() -> None:
    broken = (b"", b"2.", b'1.{"a":1}', b'3.{"a":1}', b'2.{"a":"secret"}', b"\xff" * 40)
    with capture_logs() as logs:
        assert NUMBERS.read(records(*broken, NUMBERS.write({"a": 1}))) == {"k6": {"a": 1}}
    (entry,) = logs
    assert (entry["event"], entry["log_level"], entry["count"]) == ("records_unreadable", "warning", len(broken))
    with capture_logs() as logs:
        NUMBERS.read(records(b'2.{"a":"secret"}'))
    assert "secret" not in str(logs)
    assert logs[0]["why"].startswith("a: ")


def an_ended_session() -> Session:
    """With everything in it that may be infinite, of another type in JSON, or not there."""
    asked = replace(
        given.a_session(given.JOINS, given.SIGNALS, given.AGENT),
        user=User("alice", "爱丽丝", {"a": "1"}, {"can_publish_sources": ["camera"]}, "m"),
        metadata=JsonObject.of({"topic": "天气", "deep": [{"x": None}]}),
        limits=Limits(retention=7.0),
        owner="acme",
        callback_url="https://acme.example/hook?token=1",
    )
    return given.after(
        asked,
        *given.managed(),
        *given.invited(given.ASR),
        given.seen("sm-asr-1", "PA_1", START),
        given.seen("alice", "PA_2", START),
        given.left("alice", "PA_2", START + 1),
        ev.InviteStarted(START, 1, 1, 1, "sm-llm-1", "inv_1"),
        ev.InviteRefused(START + 1, 1, 1, 1, Refusal.DECLINED, True, detail="full"),
        ev.SessionClosed(START + 2),
        ev.CleanUpStarted(START + 2),
        ev.CleanedUp(START + 3),
    )


def test_ended_session_comes_back_equal() -> None:
    session = an_ended_session()
    assert session.over
    assert session.services[0].ready_by is Evidence.JOIN
    assert VALUES.read([Record(Kind.ENDED_SESSION, "s1", VALUES.write(EndedSession(session)))]) == {
        "s1": EndedSession(session)
    }
