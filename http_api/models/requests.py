"""The models of request bodies and queries. responses.py has those of responses.

Unknown fields are rejected, so that a misspelled one is not ignored. `null` means not given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from aiohttp import web
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from http_api.models import field_types, json_schemas
from http_api.models.field_types import MONTH, wrong
from http_api.models.paging import LIMIT_DEFAULT, LIMIT_MAX, read_cursor
from manager_agent.livekit.tokens import EVERY_GRANT
from manager_agent.outbound.address_policy import AddressPolicy, AddressRefused
from manager_agent.registry.services import RegisteredService
from manager_agent.session.required_service import Requirement
from manager_agent.session.session import ReadyOn, SessionState, User

REQUIRED_SERVICES_MAX = 32
READY_TIMEOUT_MAX = 600.0
CAPACITY_MAX = 1_000_000
LEASE_MAX = 86_400.0

Profiles = Mapping[str, Sequence[Requirement]]
"""The requirements of each profile, by its name."""


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class Query(BaseModel):
    """A query string. Not strict: all values arrive as strings."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def _may_be_called(address: str, info: ValidationInfo) -> str:
    """Reject an address that can never be called. The policy is checked again at each call."""
    address_policy: AddressPolicy | None = (info.context or {}).get("address_policy")
    if address_policy is not None:
        try:
            address_policy.admit(address)
        except AddressRefused as refused:
            raise wrong(str(refused)) from None
    return address


Address = Annotated[field_types.Endpoint, AfterValidator(_may_be_called)]
"""An http or https URL that the session manager will call."""


# --- sessions ---------------------------------------------------------------------------------------


class RequiredServiceEntry(Body):
    """One service by its id, or any service of a type with these labels."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {
                    "required": ["service_id"],
                    "properties": {
                        "service_id": {"type": "string"},
                        "type": {"type": "null"},
                        "labels": {"type": ["object", "null"], "maxProperties": 0},
                    },
                },
                {
                    "required": ["type"],
                    "properties": {"type": {"type": "string"}, "service_id": {"type": "null"}},
                },
            ]
        }
    )

    service_id: field_types.ServiceId | None = None
    type: field_types.ServiceType | None = None
    labels: field_types.Labels | None = None
    optional: bool = False

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.service_id is None) == (self.type is None):
            raise wrong("should have either service_id or type")
        if self.service_id is not None and self.labels:
            raise wrong("labels can only be used with type, not with service_id")
        return self

    def requirement(self) -> Requirement:
        return Requirement(service_id=self.service_id, type=self.type, labels=self.labels or {}, optional=self.optional)


def _entry_kind(value: object) -> str | None:
    match value:
        case str():
            return "(id)"
        case dict() | RequiredServiceEntry():
            return "(entry)"
    return None


def requirements_of(entries: Sequence[str | RequiredServiceEntry]) -> list[Requirement]:
    return [Requirement(service_id=entry) if isinstance(entry, str) else entry.requirement() for entry in entries]


def _each_once(entries: list[str | RequiredServiceEntry]) -> list[str | RequiredServiceEntry]:
    _refuse_twice(requirements_of(entries))
    return entries


def named_twice(requirements: Sequence[Requirement]) -> list[str]:
    """The ids of the services that are required more than once."""
    ids = Counter(requirement.service_id for requirement in requirements)
    return sorted(service_id for service_id, count in ids.items() if service_id is not None and count > 1)


def _refuse_twice(requirements: Sequence[Requirement], whose: str = "") -> None:
    if twice := named_twice(requirements):
        raise wrong(f"names a service twice{whose}: {', '.join(twice)}")


RequiredServices = Annotated[
    list[
        Annotated[
            Annotated[field_types.ServiceId, Tag("(id)")] | Annotated[RequiredServiceEntry, Tag("(entry)")],
            Discriminator(
                _entry_kind, custom_error_type="wrong", custom_error_message="Input should be a service id or an object"
            ),
        ]
    ],
    Field(max_length=REQUIRED_SERVICES_MAX),
    AfterValidator(_each_once),
]


class UserGrants(Body):
    """Permissions of the user in the room that differ from the defaults."""

    can_publish: bool | None = None
    can_subscribe: bool | None = None
    can_publish_data: bool | None = None
    can_publish_sources: (
        Annotated[
            list[Literal["camera", "microphone", "screen_share", "screen_share_audio"]],
            Field(min_length=1, max_length=4),  # to LiveKit an empty list means all sources
        ]
        | None
    ) = None
    can_update_own_metadata: bool | None = None

    @field_validator("*")
    @classmethod
    def _may_be_granted(cls, value: object, info: ValidationInfo) -> object:
        if value and info.field_name not in (info.context or {}).get("grants", EVERY_GRANT):
            raise wrong("this deployment does not allow this grant (USER_GRANTS)")
        return value

    def granted(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True)


class CreateSession(Body):
    """The session to create: its user and its required services."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["required_services"], "properties": {"required_services": {"type": "array"}}},
                {"required": ["profile"], "properties": {"profile": {"type": "string"}}},
            ],
            "examples": [
                {
                    "user_identity": "alice",
                    "user_name": "Alice",
                    "metadata": {"language": "en"},
                    "required_services": ["asr-service", {"type": "LLM", "optional": True}],
                }
            ],
        }
    )

    user_identity: field_types.UserIdentity
    user_name: field_types.UserName | None = None
    room_name: field_types.RoomName | None = None
    metadata: field_types.Metadata | None = None
    profile: field_types.ProfileName | None = None
    required_services: Annotated[RequiredServices | None, Field(validate_default=True)] = None
    """Together with a profile: the services required in addition to it."""
    ready_timeout: Annotated[float, Field(ge=1, le=READY_TIMEOUT_MAX)] | None = None
    max_duration: Annotated[float, Field(ge=1, le=MONTH)] | None = None
    """Seconds, at most SESSION_TTL."""
    user_attributes: field_types.Attributes | None = None
    user_grants: UserGrants | None = None
    callback_url: Address | None = None
    """The URL to which every change of the session's state is posted."""

    @field_validator("max_duration")
    @classmethod
    def _within_the_longest(cls, seconds: float | None, info: ValidationInfo) -> float | None:
        longest: float = (info.context or {}).get("longest", float("inf"))
        if seconds is not None and seconds > longest:
            raise wrong(f"should be at most {longest:g} seconds (SESSION_TTL)")
        return seconds

    @field_validator("profile")
    @classmethod
    def _is_known(cls, profile: str | None, info: ValidationInfo) -> str | None:
        if profile is not None and profile not in _profiles(info):
            raise wrong("is not a profile in the SERVICES_FILE")
        return profile

    @field_validator("required_services")
    @classmethod
    def _asks_for_something(
        cls, entries: list[str | RequiredServiceEntry] | None, info: ValidationInfo
    ) -> list[str | RequiredServiceEntry] | None:
        if "profile" not in info.data:
            return entries  # the profile itself is invalid
        profile = info.data["profile"]
        if entries is None and profile is None:
            raise wrong("Field required unless profile is given")
        if entries and profile is not None:
            both = [*_profiles(info)[profile], *requirements_of(entries)]
            _refuse_twice(both, ", including the profile")
            if len(both) > REQUIRED_SERVICES_MAX:
                raise wrong(
                    f"should have at most {REQUIRED_SERVICES_MAX} items including the profile's, has {len(both)}"
                )
        return entries

    def user(self) -> User:
        return User(
            identity=self.user_identity,
            name=self.user_name or "",
            attributes=self.user_attributes or {},
            grants=self.user_grants.granted() if self.user_grants else {},
        )

    def requirements(self, profiles: Profiles) -> list[Requirement]:
        """The requirements of the profile, followed by the additional ones."""
        by_profile = profiles[self.profile] if self.profile is not None else ()
        return [*by_profile, *requirements_of(self.required_services or ())]


def _profiles(info: ValidationInfo) -> Profiles:
    profiles: Profiles = (info.context or {}).get("profiles", {})
    return profiles


class AddParticipant(Body):
    """Another human participant for the room of a session."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"identity": "bob", "name": "Bob"}]})

    identity: field_types.UserIdentity
    name: field_types.UserName | None = None
    attributes: field_types.Attributes | None = None
    grants: UserGrants | None = None
    metadata: field_types.MetadataText | None = None

    def human(self) -> User:
        return User(
            identity=self.identity,
            name=self.name or "",
            attributes=self.attributes or {},
            grants=self.grants.granted() if self.grants else {},
            metadata=self.metadata or "",
        )


class SayReady(Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"service_id": "asr-service"}]})

    service_id: field_types.ServiceId


# --- queries ----------------------------------------------------------------------------------------


def _as_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


class HealthQuery(Query):
    model_config = ConfigDict(json_schema_extra={"examples": [{}]})

    deep: bool = False
    """Run the probe: create a real room, join it, and exchange a message with the manager."""


class InstanceQuery(Query):
    """The instance that the request is about, for services whose instances register one after another."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"endpoint": "http://127.0.0.1:9001/invites"}]})

    endpoint: Annotated[str, Field(max_length=2_048)] | None = None
    """The endpoint of the instance: 409 if the registered instance has a different one."""


class ListSessions(Query):
    model_config = ConfigDict(json_schema_extra={"examples": [{"state": ["ready", "active"], "limit": 20}]})

    state: Annotated[list[SessionState], BeforeValidator(_as_list)] = []
    """Only sessions in this state; repeat the parameter for several states."""
    service: field_types.ServiceId | None = None
    """Only sessions that include this service."""
    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT
    # The validator decodes the cursor: the value here is the session id.
    cursor: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{40}$"), AfterValidator(read_cursor)] | None = None
    """The `next_cursor` of the previous page."""


# --- services ---------------------------------------------------------------------------------------


def _whole(value: object) -> object:
    """Accept 10.0 as 10: JSON does not distinguish them."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class ServiceMetadata(BaseModel):
    """Metadata of the service. Sessions request services by `type`; the other fields are returned unchanged."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, json_schema_extra=json_schemas.OPEN)

    type: field_types.ServiceType
    version: Annotated[field_types.Text, Field(max_length=64)] | None = None


class RegisterService(Body):
    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["endpoint"], "properties": {"endpoint": {"type": "string"}}},
                {"required": ["agent_name"], "properties": {"agent_name": {"type": "string"}}},
            ],
            "examples": [
                {
                    "service_id": "asr-service",
                    "endpoint": "http://127.0.0.1:9001/invites",
                    "metadata": {"type": "ASR", "version": "1.0.0"},
                    "capacity": 10,
                    "lease_seconds": 30,
                }
            ],
        }
    )

    service_id: field_types.ServiceId
    agent_name: field_types.AgentName | None = None
    endpoint: Annotated[Address | None, Field(validate_default=True)] = None
    metadata: ServiceMetadata
    ready_on: Annotated[ReadyOn, Field(strict=False)] = ReadyOn.JOIN
    labels: field_types.Labels | None = None
    capacity: Annotated[int, Field(ge=1, le=CAPACITY_MAX), BeforeValidator(_whole)] | None = None
    lease_seconds: Annotated[float, Field(ge=1, le=LEASE_MAX)] | None = None

    @field_validator("endpoint")
    @classmethod
    def _can_be_told(cls, endpoint: str | None, info: ValidationInfo) -> str | None:
        if endpoint is None and "agent_name" in info.data and info.data["agent_name"] is None:
            raise wrong("Field required unless agent_name is given")
        return endpoint

    @field_validator("metadata", mode="before")
    @classmethod
    def _sized(cls, metadata: Any) -> Any:
        return field_types.sized_metadata(metadata) if isinstance(metadata, dict) else metadata

    def service(self, at: float, *, static: bool = False) -> RegisteredService:
        """The service, registered at the instant `at` (seconds since the epoch)."""
        return RegisteredService(
            service_id=self.service_id,
            type=self.metadata.type,
            endpoint=self.endpoint,
            agent_name=self.agent_name,
            ready_on=self.ready_on,
            labels=self.labels or {},
            metadata=self.metadata.model_dump(exclude_unset=True),
            registered_at=at,
            capacity=self.capacity,
            lease_seconds=self.lease_seconds,
            static=static,
        )


class ServicesFileBody(Body):
    """The content of the SERVICES_FILE."""

    services: list[RegisterService] | None = None
    profiles: dict[field_types.ProfileName, RequiredServices] | None = None


class Heartbeat(Body):
    """What an instance reports about itself. All fields are optional."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"load": 0.25}]})

    load: Annotated[float, Field(ge=0, le=1)] | None = None
    draining: bool | None = None


PROFILES: web.AppKey[Profiles] = web.AppKey("PROFILES")
