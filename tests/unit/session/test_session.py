"""What a session says of itself, beyond what its events lead to."""

from __future__ import annotations

import math

import pytest

from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.attempt import InstanceRef
from manager_agent.session.events import Signal
from manager_agent.session.participant import ROOM_EVENT_LAG, Presence
from manager_agent.session.room import generated_room_name
from manager_agent.session.session import PROMPT, End, EndReason
from tests.unit import sessions as given
from tests.unit.sessions import START

pytestmark = pytest.mark.unit


def test_the_room_name_is_the_callers_or_that_of_the_group_which_shares_it() -> None:
    own = replace(given.a_session(), owner="shop")
    assert own.tenant == "shop"
    assert replace(own, shared_with="stores").tenant == "stores"


def test_an_instance_is_logged_without_the_secrets_of_its_address() -> None:
    by_url = InstanceRef("asr-1", "https://me:hunter2@asr.example/invite?key=hunter2", None)
    assert by_url.log_fields.keys() == {"service_id", "endpoint"}
    assert "asr.example" in by_url.log_fields["endpoint"]
    assert "hunter2" not in str(by_url.log_fields)
    assert InstanceRef("bot", None, "echo").log_fields == {"service_id": "bot", "agent_name": "echo"}


TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


def test_log_entries_about_a_session_name_it_its_room_and_its_trace() -> None:
    session = given.a_session()
    assert session.log_fields == {"session_id": "s1", "room": "demo"}
    traced = replace(session, traceparent=f"00-{TRACE_ID}-b7ad6b7169203331-01", tracestate="a=b")
    assert traced.log_fields == {"session_id": "s1", "room": "demo", "trace_id": TRACE_ID}
    assert traced.trace is not None
    assert traced.trace.state == "a=b"


def test_a_generated_room_name_is_told_apart_from_a_requested_one() -> None:
    session = given.a_session()
    assert not session.has_generated_name
    assert replace(session, room_name=generated_room_name(session.session_id)).has_generated_name


# --- what services say ------------------------------------------------------------------------------


def test_a_signal_has_taken_effect_once_the_state_of_its_service_shows_it() -> None:
    came = [*given.managed(), *given.invited(1), given.seen("sm-llm-1", "PA_1", START)]
    session = given.after(given.a_session(given.JOINS, given.SIGNALS), *came)
    applied = {signal: session.has_applied("sm-llm-1", signal) for signal in Signal}
    assert applied == {signal: signal not in (Signal.READY, Signal.FAILED) for signal in Signal}
    ready = given.after(session, given.signal("sm-llm-1", Signal.READY, START + 1))
    assert ready.has_applied("sm-llm-1", Signal.READY)
    failed = given.after(session, given.signal("sm-llm-1", Signal.FAILED, START + 1))
    assert failed.has_applied("sm-llm-1", Signal.FAILED)
    assert not failed.has_applied("sm-llm-1", Signal.READY)
    assert not any(ready.has_applied("sm-asr-1", signal) for signal in Signal), "it was not invited"


def test_an_invite_id_leads_to_the_identity_of_its_service() -> None:
    session = given.a_session(given.JOINS, given.SIGNALS)
    assert session.invited_as("") is None
    assert session.invited_as(None) is None
    session = given.after(session, *given.managed(), *given.invited(1))
    assert session.invited_as("inv_1") == "sm-llm-1"
    assert session.invited_as("inv_0") is None
    assert session.invited_as("") is None


# --- who is seen in the room ------------------------------------------------------------------------


def test_a_participant_may_be_watched_for_a_while_before_the_manager_sees_it() -> None:
    session = given.after(given.a_session(), *given.watched())
    reported = Presence(reported_at=START + 1)
    assert session.may_be_watched(reported, START + 1)
    assert not session.may_be_watched(reported, START + 1 + ROOM_EVENT_LAG)
    assert not session.may_be_watched(Presence(), START), "none has reported it"
    assert session.may_be_watched(Presence(seen_by=given.MANAGER), START + 100)
    assert not given.a_session().may_be_watched(reported, START + 1), "it has no manager"


# --- its end ----------------------------------------------------------------------------------------


def test_a_session_is_cleaned_up_once_its_room_is_deleted() -> None:
    session = given.after(given.a_session(), *given.created())
    assert not session.is_cleaned_up
    ended = given.after(session, ev.SessionClosed(START + 1))
    assert not ended.is_cleaned_up
    assert ended.end is not None
    assert replace(ended, end=replace(ended.end, cleaned_at=START + 2)).is_cleaned_up


def test_a_room_is_left_while_its_deletion_is_to_be_tried_again() -> None:
    end = End(EndReason.CLOSED, START)
    assert not end.has_room_left
    assert replace(end, retry_at=START + 30).has_room_left
    assert not replace(end, retry_at=-math.inf).has_room_left
    assert not replace(end, retry_at=START + 30, cleaned_at=START + 31).has_room_left


def test_a_clean_up_was_prompt_if_the_first_deletion_took_little_time() -> None:
    end = End(EndReason.CLOSED, START, cleaning_since=START + 1, clean_ups=1)
    assert not end.was_cleaned_promptly
    assert replace(end, cleaned_at=START + 1 + PROMPT).was_cleaned_promptly
    slow = replace(end, cleaned_at=START + 1.1 + PROMPT)
    assert not slow.was_cleaned_promptly
    assert replace(slow, deleting_since=START + 2).was_cleaned_promptly, "a wait before it does not count"
    assert not replace(end, cleaned_at=START + 1, clean_ups=2).was_cleaned_promptly
    assert not replace(end, cleaned_at=START + 1, cleaning_since=None).was_cleaned_promptly
