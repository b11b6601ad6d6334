"""The bodies and queries that come in, each as a model. views.py has what goes out.

Unknown fields are refused, so that a misspelt one is not ignored. `null` is the same as not given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

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

from http_api import texts
from http_api.paging import LIMIT_DEFAULT, LIMIT_MAX, read_cursor
from http_api.texts import wrong
from manager_agent.addresses import AddressRefused, Guard
from manager_agent.services import Requirement, Service
from manager_agent.session import ReadyOn, SessionState

REQUIRED_SERVICES_MAX = 32
READY_TIMEOUT_MAX = 600.0
CAPACITY_MAX = 1_000_000
LEASE_MAX = 86_400.0

Profiles = Mapping[str, Sequence[Requirement]]
"""What sessions may ask for by a name."""


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


# --- sessions ---------------------------------------------------------------------------------------


class RequiredServiceEntry(Body):
    """One service by its id, or any one of a type with these labels."""

    service_id: texts.ServiceId | None = None
    type: texts.ServiceType | None = None
    labels: texts.Labels | None = None
    optional: bool = False

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.service_id is None) == (self.type is None):
            raise wrong("should have either service_id or type")
        if self.service_id is not None and self.labels:
            raise wrong("labels go with a type; a service_id is one service already")
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


def _refuse_twice(requirements: Sequence[Requirement], whose: str = "") -> None:
    ids = Counter(requirement.service_id for requirement in requirements)
    twice = sorted(service_id for service_id, count in ids.items() if service_id is not None and count > 1)
    if twice:
        raise wrong(f"names a service twice{whose}: {', '.join(twice)}")


RequiredServices = Annotated[
    list[
        Annotated[
            Annotated[texts.ServiceId, Tag("(id)")] | Annotated[RequiredServiceEntry, Tag("(entry)")],
            Discriminator(
                _entry_kind, custom_error_type="wrong", custom_error_message="Input should be a service id or an object"
            ),
        ]
    ],
    Field(max_length=REQUIRED_SERVICES_MAX),
    AfterValidator(_each_once),
]


class UserGrants(Body):
    """What the user may do in the room, where that differs from what every user may."""

    can_publish: bool | None = None
    can_subscribe: bool | None = None
    can_publish_data: bool | None = None
    can_publish_sources: (
        Annotated[list[Literal["camera", "microphone", "screen_share", "screen_share_audio"]], Field(max_length=4)]
        | None
    ) = None
    can_update_own_metadata: bool | None = None


class CreateSession(Body):
    user_identity: texts.UserIdentity
    user_name: texts.UserName | None = None
    room_name: texts.RoomName | None = None
    metadata: texts.Metadata | None = None
    profile: texts.ProfileName | None = None
    required_services: Annotated[RequiredServices | None, Field(validate_default=True)] = None
    """With a profile: what is required beyond it."""
    ready_timeout: Annotated[float, Field(ge=1, le=READY_TIMEOUT_MAX)] | None = None
    max_duration: Annotated[float, Field(ge=1)] | None = None
    user_attributes: texts.Attributes | None = None
    user_grants: UserGrants | None = None

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
            raise wrong("there is no such profile in the SERVICES_FILE")
        return profile

    @field_validator("required_services")
    @classmethod
    def _asks_for_something(
        cls, entries: list[str | RequiredServiceEntry] | None, info: ValidationInfo
    ) -> list[str | RequiredServiceEntry] | None:
        if "profile" not in info.data:
            return entries  # it is wrong itself
        profile = info.data["profile"]
        if entries is None and profile is None:
            raise wrong("Field required, unless there is a profile")
        if entries and profile is not None:
            both = [*_profiles(info)[profile], *requirements_of(entries)]
            _refuse_twice(both, ", with the profile")
            if len(both) > REQUIRED_SERVICES_MAX:
                raise wrong(f"should have at most {REQUIRED_SERVICES_MAX} items, with the profile, has {len(both)}")
        return entries

    def requirements(self, profiles: Profiles) -> list[Requirement]:
        """What the profile requires, then what is required beyond it."""
        by_profile = profiles[self.profile] if self.profile is not None else ()
        return [*by_profile, *requirements_of(self.required_services or ())]


def _profiles(info: ValidationInfo) -> Profiles:
    profiles: Profiles = (info.context or {}).get("profiles", {})
    return profiles


class SayReady(Body):
    service_id: texts.ServiceId


# --- queries: everything in them is text ------------------------------------------------------------


def _as_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


class HealthQuery(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    deep: bool = False


class InstanceQuery(BaseModel):
    """Which instance is meant, where several share a service id one after the other."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: Annotated[str, Field(max_length=2_048)] | None = None


class ListSessions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    state: Annotated[list[SessionState], BeforeValidator(_as_list)] = []
    service: texts.ServiceId | None = None
    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT
    cursor: Annotated[str, AfterValidator(read_cursor)] | None = None
    """Read already: the session id that it stands for."""


# --- services ---------------------------------------------------------------------------------------


class ServiceMetadata(BaseModel):
    """What a service tells of itself. `type` is what sessions ask for; the rest is passed on as it is."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    type: texts.ServiceType
    version: Annotated[str, Field(max_length=64)] | None = None


class RegisterService(Body):
    service_id: texts.ServiceId
    agent_name: texts.AgentName | None = None
    endpoint: Annotated[texts.Endpoint | None, Field(validate_default=True)] = None
    metadata: ServiceMetadata
    ready_on: Annotated[ReadyOn, Field(strict=False)] = ReadyOn.JOIN
    labels: texts.Labels | None = None
    capacity: Annotated[int, Field(ge=1, le=CAPACITY_MAX)] | None = None
    lease_seconds: Annotated[float, Field(ge=1, le=LEASE_MAX)] | None = None

    @field_validator("endpoint")
    @classmethod
    def _can_be_told(cls, endpoint: str | None, info: ValidationInfo) -> str | None:
        if endpoint is None and "agent_name" in info.data and info.data["agent_name"] is None:
            raise wrong("Field required, unless there is an agent_name")
        return endpoint

    @field_validator("endpoint")
    @classmethod
    def _may_be_called(cls, endpoint: str | None, info: ValidationInfo) -> str | None:
        """What is refused now could never be called; what passes is judged again at each call."""
        guard: Guard | None = (info.context or {}).get("guard")
        if endpoint is not None and guard is not None:
            try:
                guard.admit(endpoint)
            except AddressRefused as refused:
                raise wrong(str(refused)) from None
        return endpoint

    @field_validator("metadata", mode="before")
    @classmethod
    def _sized(cls, metadata: Any) -> Any:
        return texts.sized_metadata(metadata) if isinstance(metadata, dict) else metadata

    def service(self, at: float, *, static: bool = False) -> Service:
        """The service to be registered at this instant."""
        return Service(
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
    """What stands in the SERVICES_FILE."""

    services: list[RegisterService] | None = None
    profiles: dict[texts.ProfileName, RequiredServices] | None = None


class Heartbeat(Body):
    """What a service says of itself while it is alive; all of it may be left out."""

    load: Annotated[float, Field(ge=0, le=1)] | None = None
    draining: bool | None = None
