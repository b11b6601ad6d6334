"""Sessions as bytes: the same afterwards, also for other versions of the program."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manager_agent.json_object import JsonObject
from manager_agent.session import events as ev
from manager_agent.session.attempt import ServiceState
from manager_agent.session.events import Refusal, Signal
from manager_agent.session.required_service import RequiredService
from manager_agent.session.session import Limits, Session, SessionState, User
from manager_agent.store.session_encoding import VERSION, NewerSession, UnreadableForm, decode, encode
from tests.unit import sessions as given_sessions
from tests.unit.session.test_histories import SERVICES, STEPS, take_step
from tests.unit.session_model import SessionModel
from tests.unit.sessions import AGENT, JOINS, SIGNALS, START

pytestmark = pytest.mark.unit

RECORDED = Path(__file__).with_name("session_form_1.json")
"""What version 1 wrote. It stays as it is: programs of the same version are replaced one after another."""


def a_rich_session() -> Session:
    """One with something in most of its fields."""
    user = User("alice", "Alice", {"role": "guest"}, {"canPublish": True, "sources": ["camera"]}, metadata="{}")
    asked = replace(
        given_sessions.a_session(JOINS, SIGNALS, AGENT),
        user=user,
        metadata=JsonObject.of({"title": "Grüße 🎉", "parts": [1, 2.5, None, {"deep": [True]}]}),
        limits=Limits(ready_timeout=5.0, retention=60.0),
        owner="shop",
        shared_with="group",
        profile="support",
        callback_url="https://shop.example/callback",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        has_guests=True,
    )
    session = given_sessions.after(
        asked,
        *given_sessions.watched(),
        *given_sessions.invited(0, 1, 2),
        ev.InviteRefused(START + 0.1, 0, 1, 1, Refusal.DECLINED, detail="busy"),
        ev.InviteStarted(START + 0.2, 0, 2, 1, "sm-asr-2", "inv_0_2"),
        given_sessions.seen("sm-asr-2", "PA_1", START + 1, joined_ms=17),
        given_sessions.signal("sm-llm-1", Signal.PROGRESS, START + 1.5),
        given_sessions.shown("alice", "PA_user", START + 2),
        ev.ListingStarted(START + 3),
        ev.WebhookArrived(START + 3),
        ev.TokenGiven(START + 3, "bob"),
        given_sessions.shown("bob", "PA_bob", START + 3.25),
        given_sessions.left("alice", "PA_user", START + 4),
    )
    assert session.services[0].past
    return session


def changed(form: bytes, change: dict[str, Any], version: int = VERSION) -> bytes:
    """The form with other fields in its session."""
    content = json.loads(form.partition(b".")[2])
    content["session"] |= change
    return b"%d.%b" % (version, json.dumps(content).encode())


def test_recorded_form_is_read_and_written_as_it_is() -> None:
    recorded = RECORDED.read_bytes()
    session = decode(recorded)
    assert encode(session) == recorded
    assert (session.state, session.revision, session.tenant) == (SessionState.WAITING, 8, "group")
    assert [(service.attempt, service.state, len(service.past)) for service in session.services] == [
        (2, ServiceState.READY, 1),
        (1, ServiceState.INVITED, 0),
        (1, ServiceState.INVITED, 0),
    ]
    assert session.metadata.parsed() == {"title": "Grüße 🎉", "parts": [1, 2.5, None, {"deep": [True]}]}
    assert session.listed_as_of == session.services[0].current.resent_at == -math.inf
    assert session.services[0].current.retry_at == math.inf


@settings(max_examples=60, deadline=None)
@given(services=st.sampled_from(SERVICES), steps=STEPS)
def test_every_session_is_the_same_afterwards(
    services: tuple[RequiredService, ...], steps: list[tuple[str, int]]
) -> None:
    model = SessionModel(services)
    for what, seed in steps:
        take_step(model, what, random.Random(seed))
    for session in model.past:
        assert decode(encode(session)) == session


def test_fields_with_their_defaults_are_left_out() -> None:
    """A new session is small."""
    form = encode(Session("ses_1", "demo", User("alice"), START))
    assert json.loads(form.partition(b".")[2]) == {
        "session": {"session_id": "ses_1", "room_name": "demo", "user": {"identity": "alice"}, "created_at": START}
    }


def test_optional_fields_of_a_newer_program_are_ignored() -> None:
    form = encode(a_rich_session())
    content = json.loads(form.partition(b".")[2])
    for part in (content, content["session"], content["session"]["room"], content["session"]["services"][0]["current"]):
        part["future"] = {"fields": [1]}
    assert decode(b"1." + json.dumps(content).encode()) == a_rich_session()


def test_a_newer_version_is_refused() -> None:
    with pytest.raises(NewerSession, match="version 2"):
        decode(changed(encode(a_rich_session()), {}, version=2))


@pytest.mark.parametrize(
    "form",
    [
        b"",
        b"1.",
        b"1.{",
        b'{"session":{}}',
        b'1.{"session":{}}',
        b"-1.{}",
        b"99999999999999999999.{}",
        changed(encode(a_rich_session()), {"created_at": "secret-value"}),
        changed(encode(a_rich_session()), {"end": {"reason": "secret-value", "at": 1}}),
    ],
)
def test_what_is_no_session_is_refused_without_saying_what_it_is(form: bytes) -> None:
    with pytest.raises(UnreadableForm) as caught:
        decode(form)
    assert "secret" not in str(caught.value)
    assert not isinstance(caught.value, NewerSession)
