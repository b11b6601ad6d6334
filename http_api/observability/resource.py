"""Who sends logs and traces: the resource of OpenTelemetry, the same in both.

https://opentelemetry.io/docs/specs/semconv/resource/ says what its attributes mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import uuid4

from http_api import VERSION
from http_api.settings.settings import Settings

INSTANCE_ID = str(uuid4())
"""Of this process: another one after each start."""


def resource_of(settings: Settings) -> Mapping[str, str]:
    return {
        "service.name": settings.otel_service_name,
        "service.version": VERSION,
        "service.instance.id": INSTANCE_ID,
        "deployment.environment.name": settings.deployment,
    }
