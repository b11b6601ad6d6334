"""The form in which sessions are stored: programs of two versions read it from each other during a rolling update."""

from __future__ import annotations

import math

import pytest

from manager_agent.frozen import replace
from manager_agent.json_object import JsonObject
from manager_agent.session.attempt import Attempt, Timeline
from manager_agent.session.dispatch import ManagerDispatch
from manager_agent.session.events import Chosen, Evidence, ReadyOn, Refusal
from manager_agent.session.participant import Departure, Guest, Presence, Removals, StaleParticipant
from manager_agent.session.required_service import RequiredService, Requirement
from manager_agent.session.room import Room
from manager_agent.session.session import End, EndReason, Limits, Session, User
from manager_agent.store.session_encoding import NewerSession, UnreadableForm, decode, encode

pytestmark = pytest.mark.unit

FULL = Session(
    session_id="ses_1",
    room_name="天气",
    user=User("alice", "爱丽丝", {"a": "1"}, {"can_publish_sources": ["camera"], "hidden": False}, "null"),
    created_at=1000.25,
    services=(
        RequiredService(
            Requirement(type="ASR", labels={"language": "de"}, optional=True, asked_as="voice"),
            Attempt(
                Chosen("asr-1", "ASR", "http://asr.example/invite", ready_on=ReadyOn.SIGNAL),
                number=2,
                identity="sm-asr-2",
                invite_id="inv_2",
                tries=1,
                retry_at=1007.5,
                refusal=Refusal.DECLINED,
                refusal_detail='"full"',
                presence=Presence("PA_1", 7, 1001.0, ("PA_0",), seen_by="sm-manager-1", misses=1, missed_since=1004.0),
                ready_by=Evidence.HTTP,
                timeline=Timeline(invited=1000.5, ready=1002.0),
            ),
            (Attempt(Chosen("bot", "ASR", agent_name="bot"), number=1, held_until=math.inf),),
        ),
    ),
    metadata=JsonObject.of({"topic": "天气", "deep": [{"x": None}, 1.5]}),
    limits=Limits(retention=7.0),
    owner="acme",
    callback_url="https://acme.example/hook?token=1",
    room=Room(requested_at=1000.25, sid="RM_1", created_at=1000.5, misses=1, missed_since=1003.0, missed_at=1003.5),
    manager=ManagerDispatch(1, "sm-manager-1", presence=Presence("PA_m"), dispatch_at=1002.0, spent=("sm-manager-0",)),
    stale_participants=(StaleParticipant("sm-asr-1", removals=Removals("PA_9", 1), service_id="bot", attempt=1),),
    user_presence=Presence(gone=("PA_2",), last=Departure("PA_2", -math.inf, None)),
    has_guests=True,
    guests=(Guest("bob"),),
    user_joined_at=1002.5,
    end=End(EndReason.USER_LEFT, 1010.0, clean_ups=1, retry_at=math.inf),
    state_since=1010.0,
    revision=9,
)

FORM = (
    '1.{"session":{"session_id":"ses_1","room_name":"天气","user":{"identity":"alice","name":"爱丽丝",'
    '"attributes":{"a":"1"},"grants":{"can_publish_sources":["camera"],"hidden":false},'
    '"metadata":"null"},"created_at":1000.25,"services":[{"requirement":{"type":"ASR",'
    '"labels":{"language":"de"},"optional":true,"asked_as":"voice"},'
    '"current":{"instance":{"service_id":"asr-1","type":"ASR","endpoint":"http://asr.example/invite",'
    '"ready_on":"signal"},"number":2,"identity":"sm-asr-2","invite_id":"inv_2","tries":1,'
    r'"retry_at":1007.5,"refusal":"declined","refusal_detail":"\"full\"","presence":{"sid":"PA_1",'
    '"joined_ms":7,"reported_at":1001.0,"gone":["PA_0"],"seen_by":"sm-manager-1","misses":1,'
    '"missed_since":1004.0},"ready_by":"http","timeline":{"invited":1000.5,"ready":1002.0}},'
    '"past":[{"instance":{"service_id":"bot","type":"ASR","agent_name":"bot"},"number":1,'
    '"held_until":Infinity}]}],"metadata":{"topic":"天气","deep":[{"x":null},1.5]},'
    '"limits":{"retention":7.0},"owner":"acme","callback_url":"https://acme.example/hook?token=1",'
    '"room":{"requested_at":1000.25,"sid":"RM_1","created_at":1000.5,"misses":1,"missed_since":1003.0,'
    '"missed_at":1003.5},"manager":{"attempt":1,"identity":"sm-manager-1","presence":{"sid":"PA_m"},'
    '"dispatch_at":1002.0,"spent":["sm-manager-0"]},"stale_participants":[{"identity":"sm-asr-1",'
    '"removals":{"sid":"PA_9","tries":1},"service_id":"bot","attempt":1}],'
    '"user_presence":{"gone":["PA_2"],"last":{"sid":"PA_2","at":-Infinity,"seen_by":null}},'
    '"has_guests":true,"guests":[{"identity":"bob"}],"user_joined_at":1002.5,"end":{"reason":"user_left",'
    '"at":1010.0,"clean_ups":1,"retry_at":Infinity},"state_since":1010.0,"revision":9}}'
).encode()
"""Of the same session, as the first program that stored sessions wrote it."""


def test_form_of_version_1_stays_as_it_is() -> None:
    assert encode(FULL) == FORM
    assert decode(FORM) == FULL
    assert encode(decode(FORM)) == FORM


def test_fields_with_their_default_are_left_out() -> None:
    least = Session("ses_1", "room-1", User("alice"), 1.0)
    form = b'1.{"session":{"session_id":"ses_1","room_name":"room-1","user":{"identity":"alice"},"created_at":1.0}}'
    assert encode(least) == form
    assert decode(form) == least


def test_fields_of_later_programs_are_ignored() -> None:
    assert decode(FORM.replace(b'"has_guests"', b'"mood":{"is":[1,null]},"has_guests"')) == FULL


@pytest.mark.parametrize("at", [math.inf, -math.inf])
def test_infinite_instant_comes_back_wherever_it_is(at: float) -> None:
    presence = Presence(last=Departure("PA_1", at, "sm-manager-1"), missed_since=at, reported_at=at)
    session = Session("ses_1", "room-1", User("alice"), 1.0, user_presence=presence)
    assert decode(encode(session)) == session


@pytest.mark.parametrize("raw", [b'{"a":NaN}', b'{"a":-Infinity}', b'{"a":"null"}', b'{"a":null}'])
def test_metadata_comes_back_as_it_was(raw: bytes) -> None:
    session = Session("ses_1", "room-1", User("alice"), 1.0, metadata=JsonObject(raw))
    assert decode(encode(session)) == session
    left = replace(session, user_presence=Presence(last=Departure("PA_1", 2.0, None)))
    assert decode(encode(left)) == left


@pytest.mark.parametrize(
    ("known", "wrong"),
    [
        ('"user_left"', '"secret"'),
        ('"revision":9', '"revision":"secret"'),
        ('"metadata":{', '"metadata":["secret"],"more":{'),
        ('"created_at":1000.25', '"created_at":null,"name":"secret"'),
        ('"identity":"alice",', '"secret":1,'),
        ("{", "{{secret"),
        ("}", ""),
        ("天气", "\udcff"),
        ('"hidden":false', f'"hidden":{"[" * 100_000}'),
    ],
)
def test_form_that_can_not_be_read_is_refused_without_its_content(known: str, wrong: str) -> None:
    with pytest.raises(UnreadableForm) as refused:
        decode(FORM.decode().replace(known, wrong).encode(errors="surrogateescape"))
    assert "secret" not in str(refused.value)


def test_form_of_a_newer_program_is_told_apart() -> None:
    with pytest.raises(NewerSession):
        decode(b"2.anything")
    for unversioned in (b"", b"{}", b"x.{}", b"1", b"1.", b"1.[]", b"1.{}"):
        with pytest.raises(UnreadableForm):
            decode(unversioned)
