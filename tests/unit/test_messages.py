"""Messages: to a service in its invite, in the room, and about the room in its metadata."""

from __future__ import annotations

import ast
import json
import re
import time
from datetime import UTC, datetime
from typing import Any

import hypothesis
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from manager_agent.clock_origin import ClockOrigin
from manager_agent.frozen import replace
from manager_agent.json_object import JsonObject
from manager_agent.messages import (
    DETAIL_MAX,
    SIGNAL_BYTES_MAX,
    Ack,
    Answer,
    Instant,
    Invite,
    RoomOwner,
    RoomStatus,
    RpcFault,
    ServiceMessage,
    SessionEndedMessage,
    UnreadableMessage,
    instant,
    invited_session,
    parse_signal,
    rfc3339,
)
from manager_agent.session import events as ev
from manager_agent.session.events import ReadyOn, Signal
from manager_agent.session.session import EndReason, User
from scripts.repository import ROOT
from tests.source_code import parsed
from tests.unit import sessions as given
from tests.unit.sessions import START

pytestmark = pytest.mark.unit

CLOCK = ClockOrigin("a machine", 0.0)

# --- what a service says ----------------------------------------------------------------------------


@pytest.mark.parametrize("signal", list(Signal))
def test_every_service_signal_is_read_with_and_without_a_detail(signal: Signal) -> None:
    """As bytes from a data packet, as text from an RPC."""
    assert parse_signal(f'{{"type": "{signal}"}}') == ServiceMessage(type=signal)
    message = parse_signal(json.dumps({"type": signal, "detail": "模型已加载", "invite_id": "inv_1"}).encode())
    assert (message.type, message.detail, message.invite_id) == (signal, "模型已加载", "inv_1")


def test_unknown_fields_of_a_signal_are_ignored() -> None:
    """Later versions may add fields."""
    assert parse_signal(b'{"type": "ready", "load": 0.5, "nested": {"a": [1, 2]}}') == ServiceMessage(type=Signal.READY)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x00", id="a zero"),
        pytest.param(b"\xff\xfe\xfd", id="no UTF-8"),
        pytest.param("\ud800", id="half a character"),
        pytest.param('{"type": "ready", "detail": "\ud800"}', id="half a character in a string"),
        pytest.param(b'\xef\xbb\xbf{"type": "ready"}', id="a byte order mark"),
        pytest.param(b"ready", id="no JSON"),
        pytest.param(b'"ready"', id="a string"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'[{"type": "ready"}]', id="a list of messages"),
        pytest.param(b"{}", id="no type"),
        pytest.param(b'{"type": null}', id="null as type"),
        pytest.param(b'{"type": ["ready"]}', id="a list as type"),
        pytest.param(b'{"type": {"type": "ready"}}', id="an object as type"),
        pytest.param(b'{"type": 1}', id="a number as type"),
        pytest.param(b'{"type": "READY"}', id="another case"),
        pytest.param(b'{"type": "ended"}', id="another type"),
        pytest.param(b'{"Type": "ready"}', id="another field"),
        pytest.param(b'{"type": "ready", "detail": 5}', id="a number as detail"),
        pytest.param(b'{"type": "ready", "detail": NaN}', id="NaN"),
        pytest.param(b'{"type": "ready", "service_id": {}}', id="an object as service id"),
        pytest.param(b'{"type": "ready", "invite_id": 1e999}', id="an endless number"),
        pytest.param(b'{"type": "ready"', id="cut off"),
        pytest.param(b'{"type": "ready"}{"type": "ready"}', id="two at once"),
        pytest.param(b"{'type': 'ready'}", id="Python"),
        pytest.param(b'{"type": "ready", "detail": "' + b"a" * (DETAIL_MAX + 1) + b'"}', id="a long detail"),
        pytest.param(b"[" * SIGNAL_BYTES_MAX, id="deep lists"),
        pytest.param(b'{"a":' * (SIGNAL_BYTES_MAX // 5), id="deep objects"),
        pytest.param(b'{"type": "ready", "x": ' + b"[" * 4_000 + b"]" * 4_000 + b"}", id="deep in what is ignored"),
        pytest.param(b"9" * SIGNAL_BYTES_MAX, id="a huge number"),
        pytest.param(b'{"type": "ready", "detail": "' + b"x" * 60_000 + b'"}', id="60 KB of text"),
        pytest.param(b"\x00\xff" * 30_000, id="60 KB of rubbish"),
        pytest.param(b'{"type": "ready"}' + b" " * SIGNAL_BYTES_MAX, id="a long tail of nothing"),
    ],
)
def test_an_invalid_signal_raises_unreadable(payload: bytes | str) -> None:
    """And no other error."""
    with pytest.raises(UnreadableMessage):
        parse_signal(payload)


def test_a_signal_is_read_up_to_its_size_limit_and_no_further() -> None:
    """To the byte."""
    message = b'{"type": "ready"}'
    longest = message + b" " * (SIGNAL_BYTES_MAX - len(message))
    assert parse_signal(longest).type is Signal.READY
    with pytest.raises(UnreadableMessage, match=str(SIGNAL_BYTES_MAX + 1)):
        parse_signal(longest + b" ")


def test_the_size_of_a_text_signal_is_counted_in_bytes() -> None:
    """An RPC brings text."""
    text = json.dumps({"type": "ready", "other": "中" * (SIGNAL_BYTES_MAX // 2)}, ensure_ascii=False)
    with pytest.raises(UnreadableMessage):
        parse_signal(text)


def test_the_error_for_an_unreadable_signal_does_not_repeat_its_payload() -> None:
    """It goes back to the sender, and into the log."""
    with pytest.raises(UnreadableMessage) as caught:
        parse_signal(b'{"type": "s3cret"}')
    assert "s3cret" not in str(caught.value)
    assert "'ready'" in str(caught.value)


# Not st.recursive(): it reads its argument's source from this file, which may change during a run.
JSON_VALUES: st.SearchStrategy[Any] = st.deferred(
    lambda: (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=20)
        | st.lists(JSON_VALUES, max_size=4)
        | st.dictionaries(st.text(max_size=10), JSON_VALUES, max_size=4)
    )
)
MESSAGES = st.fixed_dictionaries(
    {"type": st.sampled_from([*Signal, "ended"]) | JSON_VALUES},
    optional={"detail": JSON_VALUES, "service_id": JSON_VALUES, "invite_id": JSON_VALUES, "more": JSON_VALUES},
)


@settings(max_examples=300, derandomize=True)
@hypothesis.given(st.binary(max_size=200) | st.text(max_size=200) | (JSON_VALUES | MESSAGES).map(json.dumps))
def test_any_payload_is_a_signal_or_raises_unreadable(payload: bytes | str) -> None:
    """Nothing else can happen."""
    try:
        message = parse_signal(payload)
    except UnreadableMessage:
        return
    assert message.type in Signal
    assert message.detail is None or len(message.detail) <= DETAIL_MAX


def test_answers_to_signals_have_the_format_that_services_expect() -> None:
    """To a data message and to an RPC."""
    assert json.loads(Ack(invite_id="inv_1").model_dump_json()) == {"type": "ack", "invite_id": "inv_1"}
    assert json.loads(Answer(revision=7).model_dump_json()) == {"ok": True, "revision": 7}


# --- what the room is told --------------------------------------------------------------------------

SESSION = replace(
    given.after(
        given.a_session(given.JOINS, given.SIGNALS),
        *given.managed(),
        *given.invited(0, 1),
        given.seen("sm-asr-1", "PA_1", START + 1),
    ),
    user=User("alice", "Alice A.", {"plan": "gold"}, {"canPublish": True}),
    metadata=JsonObject.of({"topic": "a private matter"}),
)
STATUS: dict[str, Any] = {
    "session_manager": 1,
    "deployment": "d",
    "session_id": "s1",
    "state": "waiting",
    "reason": None,
    "services": [
        {"service_id": "asr-service", "type": "ASR", "state": "ready", "optional": False},
        {"service_id": "llm-service", "type": "LLM", "state": "invited", "optional": False},
    ],
    "manager_identity": given.MANAGER,
    "revision": SESSION.revision,
    "progress": {
        "created": START,
        "room_created": START,
        "state_since": 0.0,
        "services": [
            {
                "attempt": 1,
                "in_flight": True,
                "sid": "PA_1",
                "ready_by": "join",
                "invited": START,
                "joined": START + 1,
                "ready": START + 1,
            },
            {"attempt": 1, "in_flight": True, "invited": START},
        ],
    },
}


def test_room_metadata_has_the_session_status_and_nothing_private() -> None:
    """Every participant can read it: these fields and no others."""
    assert json.loads(RoomStatus.of(SESSION, "d").model_dump_json()) == STATUS


def test_room_metadata_says_when_no_manager_is_known_yet() -> None:
    """From the first moment on."""
    assert RoomStatus.of(given.a_session(), "d").manager_identity is None


def test_room_metadata_says_why_a_session_has_ended() -> None:
    ended = given.after(SESSION, ev.SessionClosed(START + 2))
    assert RoomStatus.of(ended, "d").reason is EndReason.CLOSED


def test_room_metadata_says_which_services_are_optional() -> None:
    status = RoomStatus.of(given.a_session(given.JOINS, given.made_optional(given.SIGNALS)), "d")
    assert [service.optional for service in status.services] == [False, True]


def test_room_metadata_names_the_clock_of_its_instants() -> None:
    status = RoomStatus.of(SESSION, "d", CLOCK)
    assert status.progress is not None
    assert status.progress.clock == CLOCK
    assert RoomStatus.read(status.model_dump_json()) == status


def test_the_owner_of_a_room_is_read_from_metadata_of_any_version() -> None:
    later = json.dumps({**STATUS, "session_manager": 2, "services": "elsewhere"})
    assert RoomOwner.read(later) == RoomOwner(session_manager=2, deployment="d", session_id="s1")
    assert RoomOwner.read("hello") is None


def test_a_status_is_read_back_from_room_metadata() -> None:
    """Also with fields that were added later."""
    assert RoomStatus.read(RoomStatus.of(SESSION, "d").model_dump_json()) == RoomStatus.of(SESSION, "d")
    assert RoomStatus.read(json.dumps({**STATUS, "more": 1})) == RoomStatus.of(SESSION, "d")


@pytest.mark.parametrize(
    "metadata",
    [
        "",
        "hello",
        "{}",
        "[]",
        '{"session_id": "s1"}',
        json.dumps({**STATUS, "session_manager": 2}),
        "[" * 10_000,
        "\ud800",
    ],
)
def test_metadata_of_a_foreign_room_is_not_read_as_a_status(metadata: str) -> None:
    """It can be anything, including what only a later version can read."""
    assert RoomStatus.read(metadata) is None


# --- what a service is told -------------------------------------------------------------------------


def an_invite(**changes: Any) -> Invite:
    fields: dict[str, Any] = {
        "id": "inv_1",
        "createdAt": "1766400000",
        "session": invited_session(SESSION),
        "service_id": "asr-service",
        "attempt": 1,
        "identity": "sm-asr-1",
        "token": "a.token.indeed",
        "server_url": "ws://localhost:7880",
        "manager_identity": given.MANAGER,
        "ready_on": ReadyOn.JOIN,
        "ready_deadline": instant(1766400030.5),
    }
    return Invite(**fields | changes)


def test_an_invite_has_exactly_the_fields_of_the_contract() -> None:
    """Field by field."""
    assert json.loads(an_invite().model_dump_json()) == {
        "event": "session_invited",
        "id": "inv_1",
        "createdAt": "1766400000",
        "session": {
            "session_id": "s1",
            "room_name": "demo",
            "user_identity": "alice",
            "metadata": {"topic": "a private matter"},
        },
        "service_id": "asr-service",
        "attempt": 1,
        "identity": "sm-asr-1",
        "token": "a.token.indeed",
        "server_url": "ws://localhost:7880",
        "manager_identity": given.MANAGER,
        "ready_on": "join",
        "ready_deadline": "2025-12-22T10:40:30.500Z",
        "traceparent": None,
        "tracestate": None,
    }


def test_the_repr_of_an_invite_does_not_show_its_token() -> None:
    """In logs and in failing tests."""
    assert "token" not in repr(an_invite())
    assert "a.token.indeed" not in str(an_invite())


def test_a_session_ended_message_names_its_session_and_the_reason() -> None:
    """So that a service knows which of its rooms to leave."""
    session_ended = SessionEndedMessage(
        id="inv_1",
        createdAt="1766400000",
        session=invited_session(SESSION),
        service_id="asr-service",
        attempt=1,
        identity="sm-asr-1",
        reason="user_left",
    )
    signal = json.loads(session_ended.model_dump_json())
    assert (signal["event"], signal["session"]["session_id"], signal["reason"]) == ("session_ended", "s1", "user_left")


# --- RPC errors -------------------------------------------------------------------------------------


def test_services_md_lists_every_rpc_code_once() -> None:
    text = (ROOT / "docs" / "services.md").read_text()
    assert [int(code) for code in re.findall(r"^\| `(\d{4})` \|", text, re.MULTILINE)] == list(RpcFault)


def test_every_rpc_error_is_raised_with_a_code_of_rpc_fault() -> None:
    codes = [
        ast.unparse(call.args[0])
        for folder in ("manager_agent", "service_kit")
        for path in (ROOT / folder).rglob("*.py")
        for call in ast.walk(parsed(path))
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("RpcError")
    ]
    assert codes
    assert set(codes) <= {f"RpcFault.{fault.name}" for fault in RpcFault}


# --- times ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1766400000.0, "2025-12-22T10:40:00.000Z"),
        (1766400000.9999, "2025-12-22T10:40:00.999Z"),
        (1766400000.0005, "2025-12-22T10:40:00.000Z"),
        (1766400000.25, "2025-12-22T10:40:00.250Z"),
    ],
)
def test_times_are_shown_in_utc_with_milliseconds(at: float, shown: str) -> None:
    """Cut, not rounded: no time is shown before it has come."""
    assert rfc3339(at) == shown


@settings(max_examples=300, derandomize=True)
@hypothesis.given(at=st.floats(0, 4e9))
def test_a_shown_time_is_at_most_a_millisecond_before_the_real_one(at: float) -> None:
    """And reads back as itself."""
    read = datetime.fromisoformat(rfc3339(at))
    assert (read, read.tzinfo) == (instant(at), UTC)
    assert -1e-6 <= at - read.timestamp() < 0.001 + 1e-6


@pytest.mark.parametrize(("at", "shown"), [(30.0, "30.000Z"), (30.5, "30.500Z"), (30.1239, "30.123Z")])
def test_deadline_of_an_invite_always_has_milliseconds(at: float, shown: str) -> None:
    assert TypeAdapter(Instant).dump_json(instant(1766400000 + at)).decode() == f'"2025-12-22T10:40:{shown}"'


def test_deadline_of_an_invite_is_in_utc_whatever_the_time_zone_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        with monkeypatch.context() as patch:
            patch.setenv("TZ", "UTC-8")
            time.tzset()
            shown = TypeAdapter(Instant).dump_json(instant(1766400030.0)).decode()
    finally:
        time.tzset()
    assert shown == '"2025-12-22T10:40:30.000Z"'
