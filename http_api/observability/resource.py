"""The OpenTelemetry resource that identifies this process in logs and traces.

Its attributes: https://opentelemetry.io/docs/specs/semconv/resource/
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import uuid4

from http_api import VERSION
from http_api.settings.settings import Settings

INSTANCE_ID = str(uuid4())
"""Identifies this process. New at each start."""


def resource_of(settings: Settings) -> Mapping[str, str]:
    return {
        "service.name": settings.otel_service_name,
        "service.version": VERSION,
        "service.instance.id": INSTANCE_ID,
        "deployment.environment.name": settings.deployment,
    }
