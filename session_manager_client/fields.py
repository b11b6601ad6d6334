"""Request bodies as keyword arguments. The server validates them: models/sessions.py and models/services.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Required, TypedDict


class RequiredServiceFields(TypedDict, total=False):
    """One service by its id, or any service of a type with these labels."""

    service_id: str
    type: str
    labels: dict[str, str]
    optional: bool


class UserGrantFields(TypedDict, total=False):
    can_publish: bool
    can_subscribe: bool
    can_publish_data: bool
    can_publish_sources: Sequence[Literal["camera", "microphone", "screen_share", "screen_share_audio"]]
    can_update_own_metadata: bool


class SessionFields(TypedDict, total=False):
    """The fields of CreateSession. `None` means not given."""

    user_identity: str | None
    """Generated if not given."""
    user_name: str | None
    room_name: str | None
    metadata: dict[str, Any] | None
    profile: str | None
    required_services: Sequence[str | RequiredServiceFields] | None
    ready_timeout: float | None
    max_duration: float | None
    user_attributes: dict[str, str] | None
    user_grants: UserGrantFields | None
    callback_url: str | None


class ParticipantFields(TypedDict, total=False):
    """The fields of AddParticipant."""

    identity: Required[str]
    name: str | None
    attributes: dict[str, str] | None
    grants: UserGrantFields | None
    metadata: str | None


class ServiceFields(TypedDict, total=False):
    """The fields of RegisterService."""

    service_id: Required[str]
    metadata: Required[dict[str, Any]]
    endpoint: str | None
    agent_name: str | None
    ready_on: Literal["join", "signal"] | None
    labels: dict[str, str] | None
    capacity: int | None
    lease_seconds: float | None
    shared: bool | None
