"""Requests of LiveKit's TokenSource: what of them is read, and which services they require."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from livekit.protocol.agent_dispatch import RoomAgentDispatch
from livekit.protocol.room import RoomConfiguration
from pydantic import ValidationError

from http_api.errors import Invalid
from http_api.models.token_source import TokenRequest, metadata_of, profile_of, requirements_of
from http_api.protocol.bodies import validated
from manager_agent.frozen import replace
from manager_agent.registry.services import RegisteredService
from manager_agent.session.required_service import Requirement

pytestmark = pytest.mark.unit

ID, TYPE = "service_id", "type"
SERVICES = [RegisteredService("asr-1", "ASR", "http://asr"), RegisteredService("TTS", "voice", "http://tts")]
PROFILES = {
    "voice-bot": [Requirement(service_id="asr-1"), Requirement(type="TTS-DE", labels={"language": "de"})],
    "ASR": [Requirement(service_id="asr-1")],
    "default": [Requirement(type="ASR", optional=True)],
}


def asked(*agents: dict[str, Any]) -> TokenRequest:
    return validated(TokenRequest, {"room_config": {"agents": list(agents)}})


def required(*names: str | None, profiles: Any = PROFILES, default: str = "default") -> list[Requirement]:
    """The requirements, whatever they were asked as."""
    agents = asked(*({"agent_name": name} for name in names)).agents
    return [replace(one, asked_as="") for one in requirements_of(agents, profiles, SERVICES, default)]


def profile(*names: str | None) -> str:
    return profile_of(asked(*({"agent_name": name} for name in names)).agents, PROFILES, SERVICES, "default")


def refused(*names: str | None, **more: Any) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        required(*names, **more)
    return {bad.field: bad.detail for bad in caught.value.fields}


# --- what a name means ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("asr-1", [Requirement(service_id="asr-1")]),
        ("TTS", [Requirement(service_id="TTS")]),
        ("voice", [Requirement(type="voice")]),
        ("ASR", [Requirement(type="ASR")]),
        ("voice-bot", PROFILES["voice-bot"]),
        ("default", PROFILES["default"]),
    ],
)
def test_an_agent_name_is_a_service_id_or_a_type_or_a_profile(name: str, meant: list[Requirement]) -> None:
    assert required(name) == meant


def test_the_agent_name_of_a_registered_service_is_its_last_meaning() -> None:
    agents = [
        RegisteredService(f"a-{n}", "agent", None, agent_name=name) for n, name in enumerate(("x", "x", "voice-bot"))
    ]

    def meant(name: str) -> list[Requirement]:
        return requirements_of(asked({"agent_name": name}).agents, PROFILES, agents, "default")

    assert meant("x") == [Requirement(service_id="a-0", asked_as="x")]
    assert [one.type or one.service_id for one in meant("voice-bot")] == ["asr-1", "TTS-DE"]


def test_services_of_a_profile_are_required_before_they_are_registered() -> None:
    assert required("TTS-DE") == [Requirement(type="TTS-DE")]
    profiles = {"p": [Requirement(service_id="later")]}
    assert required("later", profiles=profiles) == [Requirement(service_id="later")]


def test_several_agents_are_required_in_the_order_of_the_request() -> None:
    assert required("voice", "asr-1") == [Requirement(type="voice"), Requirement(service_id="asr-1")]


def test_requirements_keep_the_names_by_which_they_were_asked_for() -> None:
    """Under these names their agents find the metadata that was sent for them."""
    agents = asked({"agent_name": "voice-bot"}, {"agent_name": "voice"}, {"agent_name": ""}).agents
    found = requirements_of(agents, PROFILES, SERVICES, "default")
    assert [one.asked_as for one in found] == ["voice-bot", "voice-bot", "voice", "default"]


def test_all_unknown_agent_names_are_named() -> None:
    assert refused("asr-1", "asr-2", "Voice") == {
        "room_config.agents[1].agent_name": "'asr-2' is not a service, type, profile or agent",
        "room_config.agents[2].agent_name": "'Voice' is not a service, type, profile or agent",
    }


@pytest.mark.parametrize("names", [(), (None,), ("",)])
def test_without_an_agent_name_the_default_profile_is_used(names: tuple[str | None, ...]) -> None:
    assert required(*names) == PROFILES["default"]
    assert required(*names, default="voice-bot") == PROFILES["voice-bot"]


@pytest.mark.parametrize(
    ("names", "meant"),
    [
        ((), "default"),
        ((None,), "default"),
        (("voice-bot",), "voice-bot"),
        (("asr-1", "voice-bot"), "voice-bot"),
        (("voice-bot", "default"), ""),
        (("ASR",), ""),
        (("asr-1",), ""),
        (("nobody",), ""),
    ],
)
def test_a_session_shows_its_profile_if_exactly_one_was_requested(names: tuple[str | None, ...], meant: str) -> None:
    assert profile(*names) == meant


def test_without_agent_name_and_default_profile_the_error_names_the_setting() -> None:
    [(field, detail)] = refused(profiles={}).items()
    assert (field, "DEFAULT_PROFILE" in detail) == ("room_config.agents", True)
    assert list(refused("asr-1", None, profiles={})) == ["room_config.agents[1].agent_name"]


def test_a_service_that_two_agent_names_require_is_refused() -> None:
    assert refused("voice-bot", "asr-1") == {"room_config.agents": "names a service twice: asr-1"}


def test_the_services_of_all_requested_profiles_are_limited_in_number() -> None:
    profiles = {name: [Requirement(type=f"{name}{n}") for n in range(20)] for name in "ab"}
    assert "32" in refused("a", "b", profiles=profiles)["room_config.agents"]


# --- what is read -----------------------------------------------------------------------------------


def test_agent_metadata_is_kept_under_the_requested_agent_names() -> None:
    agents = asked({"agent_name": "ASR", "metadata": '{"lang": "de"}'}, {"agent_name": "TTS"}, {"metadata": "x"}).agents
    assert metadata_of(agents, "default") == {"agents": {"ASR": '{"lang": "de"}', "default": "x"}}
    assert metadata_of(asked({"agent_name": "ASR", "metadata": ""}).agents, "default") == {}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"room_config": {}},
        {"room_config": None, "room_name": None, "participant_attributes": None},
        {"room_name": "", "participant_identity": "", "participant_name": "", "participant_metadata": ""},
        {"room_config": {"agents": []}},
    ],
)
def test_every_token_source_field_is_optional_as_the_sdks_send_it(body: dict[str, Any]) -> None:
    request = validated(TokenRequest, body)
    assert (request.room_name, request.participant_identity, list(request.agents)) == (None, None, [])


@pytest.mark.parametrize("frame", [lambda fields: fields, lambda fields: {"agents": [fields] * 32}])
def test_thousands_of_unknown_fields_in_room_config_make_few_errors(
    frame: Callable[[dict[str, int]], dict[str, Any]],
) -> None:
    """pydantic would make one of each, and the event loop would wait for them."""
    body = {"room_config": frame({f"a{number}": 1 for number in range(5_000)})}
    with pytest.raises(ValidationError) as caught:
        TokenRequest.model_validate(body)
    assert caught.value.error_count() <= 32
    assert "should have at most" in caught.value.errors()[0]["msg"]


def test_unknown_token_source_fields_beside_room_config_are_ignored() -> None:
    request = validated(TokenRequest, {"participant_kind": 7, "room_config": {"agents": [{"agent_name": "a"}]}})
    assert [agent.agent_name for agent in request.agents] == ["a"]


def test_token_source_names_may_be_in_camel_case_at_any_depth() -> None:
    agent = {"agentName": "a", "metadata": "m", "restartPolicy": "JRP_ON_FAILURE"}
    given = {
        "roomName": "demo",
        "participant_identity": "alice",
        "participantName": "Alice",
        "participantMetadata": "m",
        "participantAttributes": {"homeTown": "b", "home_town": "c"},
    }
    asked = validated(TokenRequest, given | {"room_config": {"agents": [agent]}})
    assert asked == validated(TokenRequest, given | {"roomConfig": {"agents": [agent | {"agent_name": "a"}]}})
    assert (asked.room_name, asked.participant_name, asked.participant_metadata) == ("demo", "Alice", "m")
    assert asked.participant_attributes == {"homeTown": "b", "home_town": "c"}
    assert [agent.agent_name for agent in asked.agents] == ["a"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"room_name": "a", "roomName": "b"}, "(body)"),
        ({"room_config": {"emptyTimeout": 4, "empty_timeout": 5}}, "room_config"),
        ({"room_config": {"agents": [{"agent_name": "a"}]}, "roomConfig": {"agents": [{"agentName": "b"}]}}, "(body)"),
        ({"participant_attributes": {"aB": "1"}, "participantAttributes": {"a_b": "1"}}, "(body)"),
        ({"roomConfig": {"agents": [{"agent_name": "a", "agentName": "b"}]}}, "room_config.agents[0]"),
    ],
)
def test_a_token_source_field_with_two_values_is_rejected(body: Any, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        validated(TokenRequest, body)
    assert [(bad.field, "different values" in bad.detail) for bad in caught.value.fields] == [(field, True)]


@pytest.mark.parametrize("none", [None, "", []])
def test_of_a_token_source_field_in_both_spellings_the_given_value_counts(none: Any) -> None:
    for given in ({"roomName": "demo", "room_name": none}, {"roomName": none, "room_name": "demo"}):
        assert validated(TokenRequest, given).room_name == "demo"


def test_a_room_configuration_may_be_given_in_both_spellings_at_once() -> None:
    agent = {"agent_name": "a", "metadata": '{"aB": 1}'}
    both = {"room_config": {"agents": [agent]}, "roomConfig": {"agents": [{"agentName": "a", "metadata": '{"aB": 1}'}]}}
    assert validated(TokenRequest, both) == validated(TokenRequest, {"room_config": {"agents": [agent]}})


def test_defaults_in_any_form_of_protobuf_json_are_accepted() -> None:
    agent: dict[str, Any] = {"agentName": "a", "restartPolicy": "0", "attributes": {}, "deployment": None}
    config = {"maxParticipants": "0", "egress": {"room": None, "tracks": None}, "agents": [agent]}
    assert [agent.agent_name for agent in validated(TokenRequest, {"roomConfig": config}).agents] == ["a"]


def a_value_for(field: FieldDescriptor) -> Any:
    """A value that is not the default."""
    values = {field.TYPE_STRING: "x", field.TYPE_UINT32: 5, field.TYPE_BOOL: True, field.TYPE_ENUM: 1}
    return values.get(field.type, {"some": "x"})


def fields_of(message: type[Message], *supported: str) -> list[Any]:
    return [field for field in message.DESCRIPTOR.fields if field.name not in supported]


@pytest.mark.parametrize("field", fields_of(RoomConfiguration, "agents"), ids=lambda field: field.name)
def test_a_room_configuration_without_effect_is_rejected(field: FieldDescriptor) -> None:
    for name in (field.name, field.json_name):
        with pytest.raises(Invalid) as caught:
            validated(TokenRequest, {"room_config": {name: a_value_for(field)}})
        assert [bad.field for bad in caught.value.fields] == [f"room_config.{field.name}"]
        assert "not supported" in caught.value.fields[0].detail


@pytest.mark.parametrize("field", fields_of(RoomAgentDispatch, "agent_name", "metadata"), ids=lambda field: field.name)
def test_an_agent_setting_without_effect_is_rejected(field: FieldDescriptor) -> None:
    for name in (field.name, field.json_name):
        with pytest.raises(Invalid) as caught:
            asked({"agent_name": "a", name: a_value_for(field)})
        assert [bad.field for bad in caught.value.fields] == [f"room_config.agents[0].{field.name}"]


def test_defaults_of_protobuf_are_accepted() -> None:
    agent = RoomAgentDispatch(agent_name="a")
    config = MessageToDict(RoomConfiguration(agents=[agent]), always_print_fields_with_no_presence=True)
    assert [agent.agent_name for agent in validated(TokenRequest, {"room_config": config}).agents] == ["a"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], "(body)"),
        ({"agentName": "a"}, "agent_name"),
        ({"agent_metadata": "m"}, "agent_metadata"),
        ({"room_config": {"egres": {}}}, "room_config.egres"),
        ({"room_name": "a\nroom"}, "room_name"),
        ({"room_config": {"sync_streams": 0}}, "room_config.sync_streams"),
        ({"room_config": {"maxParticipants": "5"}}, "room_config.max_participants"),
        ({"room_config": {"egress": {"room": {}}}}, "room_config.egress"),
        ({"room_config": {"empty_timeout": False}}, "room_config.empty_timeout"),
        ({"room_name": 7}, "room_name"),
        ({"participant_identity": "sm-asr"}, "participant_identity"),
        ({"participant_identity": "a" * 257}, "participant_identity"),
        ({"participant_name": "two\nlines"}, "participant_name"),
        ({"participant_name": "a" * 257}, "participant_name"),
        ({"participant_metadata": {}}, "participant_metadata"),
        ({"participant_metadata": "张" * 6_000}, "participant_metadata"),
        ({"participant_attributes": {"lk.agent.state": "x"}}, "participant_attributes"),
        ({"participant_attributes": {"a": 1}}, "participant_attributes.a"),
        ({"room_config": []}, "room_config"),
        ({"room_config": {"agents": {}}}, "room_config.agents"),
        ({"room_config": {"agents": ["a"]}}, "room_config.agents[0]"),
        ({"room_config": {"agents": [{"agent_name": "a" * 129}]}}, "room_config.agents[0].agent_name"),
        ({"room_config": {"agents": [{"metadata": {}}]}}, "room_config.agents[0].metadata"),
        ({"room_config": {"agents": [{"agent_name": f"a{n}"} for n in range(33)]}}, "room_config.agents"),
        ({"room_config": {"agents": [{"agent_name": "a"}, {"agent_name": "a"}]}}, "room_config.agents"),
        ({"room_config": {"agents": [{}, {"agent_name": ""}]}}, "room_config.agents"),
        ({"room_config": {"agents": [{"agent_name": n, "metadata": "m" * 9_000} for n in "ab"]}}, "room_config.agents"),
    ],
)
def test_known_token_source_fields_are_validated(body: Any, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        validated(TokenRequest, body)
    assert [bad.field for bad in caught.value.fields] == [field]
