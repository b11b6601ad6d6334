"""The request bodies about sessions: create one, add a participant, signal that a service is ready."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationInfo, field_validator

from http_api.models import field_types
from http_api.models.field_types import MONTH, wrong
from http_api.models.requests import Address, Body
from http_api.models.required_services import (
    REQUIRED_SERVICES_MAX,
    Profiles,
    RequiredServiceEntry,
    RequiredServices,
    refuse_twice,
    requirements_of,
)
from manager_agent.livekit.tokens import EVERY_GRANT
from manager_agent.session.required_service import Requirement
from manager_agent.session.session import User

READY_TIMEOUT_MAX = 600.0


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
                {
                    "title": "CreateSessionWithServices",
                    "required": ["required_services"],
                    "properties": {"required_services": {"type": "array"}},
                },
                {
                    "title": "CreateSessionWithProfile",
                    "required": ["profile"],
                    "properties": {"profile": {"type": "string"}},
                },
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
    """Seconds that the required services may take to become ready; READY_TIMEOUT when not given."""
    max_duration: Annotated[float, Field(ge=1, le=MONTH)] | None = None
    """Seconds that the session may last, at most SESSION_TTL."""
    user_attributes: field_types.Attributes | None = None
    user_grants: UserGrants | None = None
    callback_url: Address | None = None
    """The URL to which every change of the session's state is posted; the caller's in CALLBACK_URLS when not given."""

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
            refuse_twice(both, ", including the profile")
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
