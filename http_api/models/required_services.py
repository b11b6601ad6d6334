"""The services that a session or a profile requires, as written in requests and in the SERVICES_FILE."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Self

from aiohttp import web
from pydantic import AfterValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from http_api.models import field_types
from http_api.models.field_types import wrong
from http_api.models.requests import Body
from manager_agent.session.required_service import Requirement

REQUIRED_SERVICES_MAX = 32

Profiles = Mapping[str, Sequence[Requirement]]
"""The requirements of each profile, by its name."""


class RequiredServiceEntry(Body):
    """One service by its id, or any service of a type with these labels."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {
                    "title": "RequiredServiceById",
                    "required": ["service_id"],
                    "properties": {
                        "service_id": {"type": "string"},
                        "type": {"type": "null"},
                        "labels": {"type": ["object", "null"], "maxProperties": 0},
                    },
                },
                {
                    "title": "RequiredServiceByType",
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
    refuse_twice(requirements_of(entries))
    return entries


def named_twice(requirements: Sequence[Requirement]) -> list[str]:
    """The ids of the services that are required more than once."""
    ids = Counter(requirement.service_id for requirement in requirements)
    return sorted(service_id for service_id, count in ids.items() if service_id is not None and count > 1)


def refuse_twice(requirements: Sequence[Requirement], whose: str = "") -> None:
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


PROFILES: web.AppKey[Profiles] = web.AppKey("PROFILES")
