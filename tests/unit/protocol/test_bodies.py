"""Request bodies: an invalid one is refused with every invalid field named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel

from http_api.errors import Invalid, MalformedBody
from http_api.models.queries import ListSessions
from http_api.models.services import Heartbeat, RegisterService
from http_api.models.sessions import AddParticipant, CreateSession, SayReady
from http_api.protocol.bodies import DEPTH_MAX, VALUES_MAX, field_path, parse_json, validated
from manager_agent.session.events import ReadyOn
from manager_agent.session.required_service import Requirement
from tests.names import NAMES

pytestmark = pytest.mark.unit

SESSION = {"user_identity": "alice", "required_services": []}
SERVICE = {"service_id": "asr-service", "endpoint": "http://asr:8000/invite", "metadata": {"type": "ASR"}}


def bad_fields(model: type[BaseModel], value: Any) -> set[str]:
    with pytest.raises(Invalid) as caught:
        validated(model, value, longest=3_600)
    return {bad.field for bad in caught.value.fields}


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"user_identity": None, "required_services": None}, {"user_identity", "required_services"}),
        ({"user_identity": ""}, {"user_identity"}),
        ({"user_identity": " alice"}, {"user_identity"}),
        ({"user_identity": "a\tb"}, {"user_identity"}),
        ({"user_identity": "sm-alice"}, {"user_identity"}),
        ({"user_identity": "a" * 257}, {"user_identity"}),
        ({"user_identity": "张" * 100}, {"user_identity"}),
        ({"user_identity": 7}, {"user_identity"}),
        ({"user_name": "two\nlines"}, {"user_name"}),
        ({"user_name": "张" * 100}, {"user_name"}),
        ({"room_name": ""}, {"room_name"}),
        ({"room_name": "x\n"}, {"room_name"}),
        ({"room_name": "é" * 129}, {"room_name"}),
        ({"metadata": []}, {"metadata"}),
        ({"metadata": {"x": "y" * 17_000}}, {"metadata"}),
        ({"required_services": "asr-service"}, {"required_services"}),
        ({"required_services": ["asr-service", "asr-service"]}, {"required_services"}),
        ({"required_services": ["asr-service", {"service_id": "asr-service"}]}, {"required_services"}),
        ({"required_services": [f"s{n}" for n in range(33)]}, {"required_services"}),
        ({"required_services": ["a b", "ok", 7, None]}, {f"required_services[{n}]" for n in (0, 2, 3)}),
        ({"required_services": [{}]}, {"required_services[0]"}),
        ({"required_services": [{"service_id": "a", "type": "ASR"}]}, {"required_services[0]"}),
        ({"required_services": [{"service_id": "a", "labels": {"x": "y"}}]}, {"required_services[0]"}),
        ({"required_services": [{"type": "T" * 65, "optional": "yes"}]},
         {"required_services[0].type", "required_services[0].optional"}),
        ({"required_services": [{"service": "a"}]}, {"required_services[0].service"}),
        ({"ready_timeout": 0.5}, {"ready_timeout"}),
        ({"ready_timeout": 601}, {"ready_timeout"}),
        ({"ready_timeout": "30"}, {"ready_timeout"}),
        ({"ready_timeout": True}, {"ready_timeout"}),
        ({"max_duration": 3_601}, {"max_duration"}),
        ({"max_duration": 0}, {"max_duration"}),
        ({"user_attributes": {"lk.agent.state": "idle"}}, {"user_attributes"}),
        ({"user_attributes": {"n": 1}}, {"user_attributes.n"}),
        ({"user_attributes": {"n": "x" * 9_000}}, {"user_attributes"}),
        ({"user_grants": {"room_admin": True}}, {"user_grants.room_admin"}),
        ({"user_grants": {"can_publish": 1, "can_publish_sources": ["lidar"]}},
         {"user_grants.can_publish", "user_grants.can_publish_sources[0]"}),
        ({"user_grants": {"can_publish_sources": []}}, {"user_grants.can_publish_sources"}),
        ({"profile": "x", "user_nmae": "x"}, {"profile", "user_nmae"}),
    ],
)  # fmt: skip
def test_an_invalid_session_is_refused_with_each_bad_field_named(changes: dict[str, Any], fields: set[str]) -> None:
    assert bad_fields(CreateSession, SESSION | changes) == fields


@pytest.mark.parametrize("name", NAMES)
def test_names_are_taken_as_people_have_them(name: str) -> None:
    taken = validated(CreateSession, SESSION | {"user_identity": name, "room_name": name})
    assert (taken.user_identity, taken.room_name) == (name, name)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"room_name": "ab\n"}, "U+000A at position 3"),
        ({"room_name": "a\u202eb"}, "U+202E at position 2"),
        ({"room_name": "a\u2028"}, "U+2028 at position 2"),
        ({"user_identity": "\u2066a\u2069"}, "U+2066 at position 1"),
        ({"user_identity": "山田\u3000"}, "U+3000 at position 3"),
        ({"user_name": "a\r"}, "U+000D at position 2"),
        ({"room_name": "é" * 129}, "has 258"),
    ],
)
def test_a_refused_name_names_the_character(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(Invalid) as caught:
        validated(CreateSession, SESSION | changes)
    assert named in caught.value.fields[0].detail


@pytest.mark.parametrize("raw", [rb'{"room_name": "ab\u0000"}', rb'{"room_name": "ab\ud800c"}'])
def test_a_control_character_or_surrogate_in_a_body_is_named(raw: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        parse_json(raw)
    [bad] = caught.value.fields
    assert (bad.field, bad.detail.rpartition(": ")[2]) == (
        "room_name",
        "U+0000 at position 3" if b"0000" in raw else "U+D800 at position 3",
    )


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"identity": None}, {"identity"}),
        ({"identity": "sm-asr"}, {"identity"}),
        ({"name": "two\nlines", "metadata": {}}, {"name", "metadata"}),
        ({"metadata": "m" * 17_000}, {"metadata"}),
        ({"attributes": {"lk.x": "y"}}, {"attributes"}),
        ({"grants": {"hidden": True}}, {"grants.hidden"}),
        ({"user_identity": "bob"}, {"user_identity"}),
    ],
)
def test_an_invalid_participant_is_refused_with_each_bad_field_named(changes: dict[str, Any], fields: set[str]) -> None:
    assert bad_fields(AddParticipant, {"identity": "bob"} | changes) == fields


@pytest.mark.parametrize(
    ("model", "body", "field"),
    [(CreateSession, SESSION, "user_grants"), (AddParticipant, {"identity": "bob"}, "grants")],
)
def test_only_grants_that_the_server_allows_may_be_requested(
    model: type[BaseModel], body: dict[str, Any], field: str
) -> None:
    asked = {"can_publish": True, "can_subscribe": True, "can_publish_data": False, "can_update_own_metadata": True}
    with pytest.raises(Invalid) as caught:
        validated(model, body | {field: asked}, grants=("can_subscribe",))
    assert {bad.field for bad in caught.value.fields} == {f"{field}.can_publish", f"{field}.can_update_own_metadata"}
    validated(model, body | {field: asked}, grants=tuple(asked))


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"service_id": "../x"}, {"service_id"}),
        ({"service_id": ".."}, {"service_id"}),
        ({"metadata": None}, {"metadata"}),
        ({"metadata": {}}, {"metadata.type"}),
        ({"metadata": {"type": "T" * 65, "version": 1}}, {"metadata.type", "metadata.version"}),
        ({"metadata": {"type": "ASR", "x": "y" * 17_000}}, {"metadata"}),
        ({"endpoint": None}, {"endpoint"}),
        ({"endpoint": "asr:8000"}, {"endpoint"}),
        ({"endpoint": "ftp://asr/"}, {"endpoint"}),
        ({"endpoint": "http:///invite"}, {"endpoint"}),
        ({"endpoint": "http://user:pw@asr/"}, {"endpoint"}),
        ({"endpoint": "http://asr:99999/"}, {"endpoint"}),
        ({"endpoint": "http://asr/\n"}, {"endpoint"}),
        ({"endpoint": "http://asr/#x"}, {"endpoint"}),
        ({"endpoint": "http://asr/" + "x" * 3_000}, {"endpoint"}),
        ({"agent_name": "session-manager-default"}, {"agent_name"}),
        ({"ready_on": "dinner"}, {"ready_on"}),
        ({"labels": {"a b": "c", "ok": 1}}, {"labels.a b", "labels.ok"}),
        ({"capacity": 0, "lease_seconds": 0.5}, {"capacity", "lease_seconds"}),
        ({"capacity": 1.5, "lease_seconds": float("inf")}, {"capacity", "lease_seconds"}),
    ],
)
def test_an_invalid_service_is_refused_with_each_bad_field_named(changes: dict[str, Any], fields: set[str]) -> None:
    assert bad_fields(RegisterService, SERVICE | changes) == fields


@pytest.mark.parametrize("value", [None, [], "x", 1])
def test_a_body_that_is_not_an_object_is_refused(value: object) -> None:
    assert bad_fields(SayReady, value) == {"(body)"}


def test_an_empty_session_request_names_every_missing_field() -> None:
    assert bad_fields(CreateSession, {}) == {"user_identity", "required_services"}


def test_an_invalid_query_names_each_bad_parameter() -> None:
    query = {"state": ["ready", "asleep"], "limit": "201", "cursor": "!", "service": "a b", "sort": "asc"}
    assert bad_fields(ListSessions, query) == {"state[1]", "limit", "cursor", "service", "sort"}


def test_every_form_of_a_required_service_is_read() -> None:
    entries = ["a", {"service_id": "b", "optional": True}, {"type": "ASR", "labels": {"lang": "zh"}}, {"type": "ASR"}]
    body = validated(CreateSession, SESSION | {"required_services": entries})
    assert body.requirements({}) == [
        Requirement(service_id="a"),
        Requirement(service_id="b", optional=True),
        Requirement(type="ASR", labels={"lang": "zh"}),
        Requirement(type="ASR"),
    ]


PROFILES = {"voice-bot": [Requirement("a"), Requirement(type="TTS")], "big": [Requirement(type="T")] * 32}


@pytest.mark.parametrize(
    ("asked", "required"),
    [
        ({"profile": "voice-bot"}, PROFILES["voice-bot"]),
        ({"profile": "voice-bot", "required_services": None}, PROFILES["voice-bot"]),
        ({"profile": "voice-bot", "required_services": []}, PROFILES["voice-bot"]),
        ({"profile": "voice-bot", "required_services": ["b"]}, [*PROFILES["voice-bot"], Requirement("b")]),
    ],
)
def test_a_profile_expands_to_its_services_and_others_can_be_added(
    asked: dict[str, Any], required: list[Requirement]
) -> None:
    body = validated(CreateSession, {"user_identity": "alice"} | asked, profiles=PROFILES)
    assert body.requirements(PROFILES) == required


@pytest.mark.parametrize(
    ("asked", "field", "detail"),
    [
        ({"profile": "nobody"}, "profile", "is not a profile in the SERVICES_FILE"),
        ({"profile": None}, "required_services", "Field required unless profile is given"),
        ({"profile": "voice-bot", "required_services": ["a"]}, "required_services",
         "names a service twice, including the profile: a"),
        ({"profile": "big", "required_services": ["a"]}, "required_services",
         "should have at most 32 items including the profile's, has 33"),
    ],
)  # fmt: skip
def test_an_invalid_use_of_profiles_is_refused_with_the_reason(asked: dict[str, Any], field: str, detail: str) -> None:
    with pytest.raises(Invalid) as caught:
        validated(CreateSession, {"user_identity": "alice"} | asked, profiles=PROFILES)
    assert [(bad.field, bad.detail) for bad in caught.value.fields] == [(field, detail)]


@pytest.mark.parametrize(
    ("said", "fields"),
    [
        ({"load": 1.01, "draining": "yes"}, {"load", "draining"}),
        ({"load": -0.1}, {"load"}),
        ({"laod": 0}, {"laod"}),
        ({}, None),
        ({"load": 1, "draining": False}, None),
    ],
)
def test_a_heartbeat_body_has_only_load_and_draining(said: dict[str, Any], fields: set[str] | None) -> None:
    if fields is None:
        validated(Heartbeat, said)
    else:
        assert bad_fields(Heartbeat, said) == fields


def test_a_null_field_is_the_same_as_a_missing_one() -> None:
    optional = {name: None for name in CreateSession.model_fields if name not in SESSION}
    assert validated(CreateSession, SESSION | optional) == validated(CreateSession, SESSION)


def test_a_registered_service_keeps_its_metadata() -> None:
    metadata = {"type": "ASR", "version": "1.0.0", "languages": ["zh"]}
    more = {"metadata": metadata, "ready_on": "signal", "capacity": 40, "lease_seconds": 15}
    service = validated(RegisterService, SERVICE | more).service(7.0)
    assert (service.type, service.ready_on, service.registered_at) == ("ASR", ReadyOn.SIGNAL, 7.0)
    assert (service.metadata.parsed(), service.capacity, service.lease_seconds) == (metadata, 40, 15)
    assert not service.static


def test_a_service_that_is_an_agent_needs_no_endpoint() -> None:
    body = {"service_id": "bot", "agent_name": "bot", "metadata": {"type": "BOT"}}
    assert validated(RegisterService, body).service(0).endpoint is None


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"  ",
        b"{",
        b"{'a': 1}",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e400}',
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 1}}',
        b'{"a": 1} x',
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{}",
        b'{"a": "\x00"}',
        b'{"a": ' + b"9" * 5_000 + b"}",
        b"[" * 9_000 + b"]" * 9_000,
        b'{"a":' * 40 + b"1" + b"}" * 40,
        '{"a": 1}'.encode("utf-16"),
    ],
)
def test_a_body_that_is_not_plain_json_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedBody) as caught:
        parse_json(raw)
    assert str(caught.value)


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (rb'{"a": {"b": ["x", "\u0000"]}}', "a.b[1]"),
        (rb'{"a": "\ud800"}', "a"),
        (rb'{"a": {"\ud800": 1}}', "a"),
        (rb'"\u001b[2J"', "(body)"),
    ],
)
def test_strings_with_lone_surrogates_are_named(raw: bytes, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_json(raw)
    assert [bad.field for bad in caught.value.fields] == [field]


def test_ordinary_json_is_read_unchanged() -> None:
    value = {"text": "张三 👩‍👧\n\ttwo", "n": [1, -2.5, 1e10, None, True], "": {}}
    assert parse_json(json.dumps(value).encode()) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


def test_json_of_the_greatest_allowed_depth_is_read() -> None:
    raw = b"[" * DEPTH_MAX + b"]" * DEPTH_MAX
    assert parse_json(raw) is not None


def test_field_paths_of_errors_leave_out_union_branches() -> None:
    assert field_path(("required_services", 0, "(entry)", "type")) == "required_services[0].type"
    assert field_path(()) == "(body)"


@pytest.mark.parametrize("value", ["{}", "[]", "0", '{"a":0}'])
def test_a_body_of_too_many_values_is_refused_before_they_are_made(value: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_json(f"[{','.join([value] * VALUES_MAX)}".encode())  # not closed, so that it can't have been parsed
    assert [(bad.field, bad.detail) for bad in caught.value.fields] == [
        ("(body)", f"has more than {VALUES_MAX} values")
    ]


def test_punctuation_in_strings_makes_no_values() -> None:
    text = ',[{\\"' * VALUES_MAX
    assert parse_json(json.dumps([text]).encode()) == [text]
