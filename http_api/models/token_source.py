"""The request and response of LiveKit's TokenSource, and the requirements that a request stands for.

LiveKit's SDKs send these requests, and different versions send different fields: unlike in the rest of the API, unknown
fields beside `room_config` are ignored. As in protobuf's JSON, a field may have its name in camelCase, and an empty
string means not given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)
from pydantic.alias_generators import to_camel, to_snake

from http_api.errors import FieldError, Invalid
from http_api.models import field_types, json_schemas
from http_api.models.field_types import wrong
from http_api.models.requests import refuse_many_fields
from http_api.models.required_services import REQUIRED_SERVICES_MAX, Profiles, named_twice
from http_api.models.responses import View
from manager_agent.frozen import replace
from manager_agent.registry.services import RegisteredService
from manager_agent.session.required_service import Requirement

DEFAULT_PROFILE = "default"
"""The profile used when no agent is named, unless the setting DEFAULT_PROFILE names another."""
AGENTS = "room_config.agents"
NO_DEFAULT = (
    "name an agent: there is no default profile (set DEFAULT_PROFILE, or add a profile `default` to the SERVICES_FILE)"
)


NotGiven = Literal[""] | None


def _given(value: object) -> object:
    return None if value == "" else value


def _each_once(agents: list[Agent]) -> list[Agent]:
    names = [agent.agent_name for agent in agents]
    if len(set(names)) < len(names):
        raise wrong("names an agent twice")
    field_types.sized_metadata(metadata_of(agents, ""))
    return agents


def _only_default(otherwise: str) -> WrapValidator:
    """Reject every value but the field's default in protobuf, which has no effect, with this message."""

    def check(value: object, handler: ValidatorFunctionWrapHandler) -> object:
        if value == "0":
            value = 0  # in protobuf's JSON an integer may be a string
        elif isinstance(value, dict):
            value = {name: inner for name, inner in value.items() if inner is not None}
        try:
            accepted = handler(value)
        except ValidationError:
            raise wrong(otherwise) from None
        if isinstance(value, bool) != isinstance(accepted, bool):  # to pydantic 0 is a Literal[False]
            raise wrong(otherwise)
        return accepted

    return WrapValidator(check)


_NOT_SUPPORTED = _only_default("is not supported: the session manager configures the room and its services itself")
_MISPLACED = _only_default("belongs in an entry of room_config.agents")

NoText = Annotated[NotGiven, _NOT_SUPPORTED]
NoNumber = Annotated[Literal[0] | None, _NOT_SUPPORTED]
NoFlag = Annotated[Literal[False] | None, _NOT_SUPPORTED]
NoObject = Annotated[
    Annotated[dict[str, Any], Field(max_length=0), WithJsonSchema({"type": "object", "maxProperties": 0})] | None,
    _NOT_SUPPORTED,
]


class _ProtobufJson(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _in_snake_case(cls, message: Any) -> Any:
        """Rename the fields that have their names in camelCase."""
        if not isinstance(message, dict):
            return message
        if cls.model_config.get("extra") == "forbid":
            refuse_many_fields(cls, message)
        names = {to_camel(name): name for name in cls.model_fields}
        renamed: dict[str, Any] = {}
        for key, value in message.items():
            name = str(names.get(key, key))
            earlier = renamed.get(name)
            if earlier and value and not _mean_the_same(name, earlier, value):
                raise wrong(f"{name} and {to_camel(name)} are one field, and have different values")
            renamed[name] = earlier or value  # a default of protobuf is like a field that is not given
        return renamed


MESSAGES = frozenset({"room_config", "agents"})
"""The fields whose value is a message, or a list of them, of TokenRequest and RoomConfig."""


def _mean_the_same(name: str, one: object, other: object) -> bool:
    return one == other or (name in MESSAGES and _snake_case_of(one) == _snake_case_of(other))


def _snake_case_of(value: object) -> object:
    """A message with all names in snake_case, those in the messages within it, too."""
    if isinstance(value, dict):
        return {to_snake(str(name)): _snake_case_of(inner) for name, inner in value.items()}
    return [_snake_case_of(inner) for inner in value] if isinstance(value, list) else value


class Agent(_ProtobufJson):
    agent_name: Annotated[
        field_types.Printable | None, BeforeValidator(_given, json_schema_input_type=field_types.Printable | NotGiven)
    ] = None
    metadata: field_types.MetadataText | None = None
    restart_policy: Annotated[Literal["JRP_ON_FAILURE"] | Literal[0] | None, _NOT_SUPPORTED] = None
    deployment: NoText = None
    attributes: NoObject = None


class RoomConfig(_ProtobufJson):
    """LiveKit's RoomConfiguration. Of its fields, only `agents` can be used."""

    agents: Annotated[list[Agent], Field(max_length=REQUIRED_SERVICES_MAX), AfterValidator(_each_once)] | None = None
    name: NoText = None
    empty_timeout: NoNumber = None
    departure_timeout: NoNumber = None
    max_participants: NoNumber = None
    metadata: NoText = None
    egress: NoObject = None
    min_playout_delay: NoNumber = None
    max_playout_delay: NoNumber = None
    sync_streams: NoFlag = None
    tags: NoObject = None


class TokenRequest(_ProtobufJson):
    """LiveKit's TokenSourceRequest. All fields are optional."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            **json_schemas.OPEN,
            "examples": [
                {
                    "room_name": "lobby",
                    "participant_identity": "alice",
                    "room_config": {"agents": [{"agent_name": "asr-service"}]},
                }
            ],
        },
    )

    room_name: Annotated[
        field_types.RoomName | None, BeforeValidator(_given, json_schema_input_type=field_types.RoomName | NotGiven)
    ] = None
    participant_identity: Annotated[
        field_types.UserIdentity | None,
        BeforeValidator(_given, json_schema_input_type=field_types.UserIdentity | NotGiven),
    ] = None
    participant_name: field_types.UserName | None = None
    participant_metadata: field_types.MetadataText | None = None
    participant_attributes: field_types.Attributes | None = None
    room_config: RoomConfig | None = None
    agent_name: Annotated[NotGiven, _MISPLACED] = None
    agent_metadata: Annotated[NotGiven, _MISPLACED] = None

    @property
    def agents(self) -> Sequence[Agent]:
        return (self.room_config and self.room_config.agents) or ()


class TokenResponse(View):
    """LiveKit's TokenSourceResponse."""

    server_url: str
    participant_token: str = Field(repr=False)


def metadata_of(agents: Sequence[Agent], default: str) -> dict[str, Any]:
    """The session metadata for these agents, which is in every invite: each agent's own metadata by its requested name.
    An agent without a name is listed under the default profile's name."""
    given = {agent.agent_name or default: agent.metadata for agent in agents if agent.metadata}
    return {"agents": given} if given else {}


def requirements_of(
    agents: Sequence[Agent], profiles: Profiles, services: Iterable[RegisteredService], default: str
) -> list[Requirement]:
    """The requirements for these agents, in order. Each name is a service id, else a type, else a profile, else the
    agent name of a registered service. No agents, or an agent without a name, mean the default profile. Raises Invalid.

    Ids and types in profiles are known even when no such service is registered, so the meaning of a name does not
    depend on which services are running.
    """
    found: list[Requirement] = []
    unknown: list[FieldError] = []
    for index, (name, meaning) in enumerate(_meanings(agents, profiles, services, default)):
        if meaning is None:
            field = f"{AGENTS}[{index}].agent_name" if agents else AGENTS
            unknown.append(
                FieldError(field, NO_DEFAULT if name is None else f"{name!r} is not a service, type, profile or agent")
            )
        else:
            meant = profiles[meaning] if isinstance(meaning, str) else [meaning]
            found.extend(replace(requirement, asked_as=name or default) for requirement in meant)
    if unknown:
        raise Invalid(unknown)
    return _bounded(found)


def profile_of(agents: Sequence[Agent], profiles: Profiles, services: Iterable[RegisteredService], default: str) -> str:
    """The profile that these agents stand for; empty if there is none, or more than one."""
    meanings = (meaning for _, meaning in _meanings(agents, profiles, services, default))
    found = [meaning for meaning in meanings if isinstance(meaning, str)]
    return found[0] if len(found) == 1 else ""


def _meanings(
    agents: Sequence[Agent], profiles: Profiles, services: Iterable[RegisteredService], default: str
) -> Iterator[tuple[str | None, Requirement | str | None]]:
    """Each name with its meaning: a requirement, the name of a profile, or None when unknown."""
    services = list(services)
    of_agent = {service.agent_name: service.service_id for service in reversed(services)}
    known = [Requirement(service_id=service.service_id, type=service.type) for service in services]
    known += [requirement for profile in profiles.values() for requirement in profile]
    ids, types = {one.service_id for one in known}, {one.type for one in known}
    for name in [agent.agent_name for agent in agents] or [None]:
        if name is not None and name in ids:
            yield name, Requirement(service_id=name)
        elif name is not None and name in types:
            yield name, Requirement(type=name)
        elif name is not None and name not in profiles and name in of_agent:
            yield name, Requirement(service_id=of_agent[name])
        else:
            yield name, (name or default) if (name or default) in profiles else None


def _bounded(requirements: list[Requirement]) -> list[Requirement]:
    """The requirements unchanged. Raises Invalid when a service is named twice or there are too many."""
    if twice := named_twice(requirements):
        raise Invalid([FieldError(AGENTS, f"names a service twice: {', '.join(twice)}")])
    if len(requirements) > REQUIRED_SERVICES_MAX:
        too_many = f"should require at most {REQUIRED_SERVICES_MAX} services, requires {len(requirements)}"
        raise Invalid([FieldError(AGENTS, too_many)])
    return requirements
