"""The request bodies about services, and the content of the SERVICES_FILE."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from http_api.models import field_types, json_schemas
from http_api.models.field_types import wrong
from http_api.models.requests import Address, Body
from http_api.models.required_services import RequiredServices
from manager_agent.json_object import JsonObject
from manager_agent.registry.services import RegisteredService
from manager_agent.session.events import ReadyOn

CAPACITY_MAX = 1_000_000
LEASE_MAX = 86_400.0


def _whole(value: object) -> object:
    """Accept 10.0 as 10: JSON does not distinguish them."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class ServiceMetadata(BaseModel):
    """Metadata of the service. Sessions request services by `type`; the other fields are returned unchanged."""

    model_config = ConfigDict(
        extra="allow", strict=True, frozen=True, defer_build=True, json_schema_extra=json_schemas.OPEN
    )

    type: field_types.ServiceType
    version: Annotated[field_types.Text, Field(max_length=64)] | None = None


class RegisterService(Body):
    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {
                    "title": "RegisterEndpoint",
                    "required": ["endpoint"],
                    "properties": {"endpoint": {"type": "string"}},
                },
                {
                    "title": "RegisterAgent",
                    "required": ["agent_name"],
                    "properties": {"agent_name": {"type": "string"}},
                },
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
    """The number of sessions that it can serve at once; unlimited when not given."""
    lease_seconds: Annotated[float, Field(ge=1, le=LEASE_MAX)] | None = None
    """Seconds that the registration lasts without a heartbeat; unlimited when not given."""
    shared: bool | None = None
    """`true`: the sessions of every caller may use it. Requires the scope `admin`."""

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
            metadata=JsonObject.of(self.metadata.model_dump(exclude_unset=True)),
            registered_at=at,
            capacity=self.capacity,
            lease_seconds=self.lease_seconds,
            static=static,
            shared=bool(self.shared),
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
    """`true`: it gets no new sessions and keeps the current ones."""
