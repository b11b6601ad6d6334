"""The SERVICES_FILE: static services, and profiles. Every mistake in it is reported at once, with line and field.

    services:
      - {service_id: asr-1, endpoint: "http://asr-1:9000/", metadata: {type: ASR}, capacity: 40}
    profiles:
      voice-bot: [asr-1, {type: TTS, labels: {language: de}}]

A service has the fields of a registration, and a profile those of the required services of a session.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from http_api.models.required_services import Profiles, requirements_of
from http_api.models.services import ServicesFileBody
from http_api.protocol.bodies import field_path
from http_api.settings.complaint import BadSettings
from http_api.settings.yaml_lines import Document, Mistake, read_yaml
from manager_agent.outbound.address_policy import AddressPolicy
from manager_agent.registry.services import RegisteredService


class BadServicesFile(BadSettings):
    """The SERVICES_FILE is invalid. The message lists every mistake, and no values."""


@dataclass(frozen=True, slots=True)
class ServicesFile:
    services: tuple[RegisteredService, ...] = ()
    profiles: Profiles = field(default_factory=dict)


def read_services_file(path: Path, at: float, address_policy: AddressPolicy) -> ServicesFile:
    """Read the file. Its services are registered at the instant `at`. Raises BadServicesFile."""
    try:
        document = read_yaml(path.read_bytes())
    except OSError as error:
        raise BadServicesFile(f"SERVICES_FILE: {path} can't be read: {error.strerror}") from None
    mistakes = [*document.mistakes, *_duplicates(document)]
    try:
        body = ServicesFileBody.model_validate(document.value or {}, context={"address_policy": address_policy})
    except ValidationError as wrong:
        mistakes += _invalid_fields(document, wrong)
    if mistakes:
        raise _complaint(path, mistakes)
    services = tuple(service.service(at, static=True) for service in body.services or ())
    return ServicesFile(services, {name: requirements_of(entries) for name, entries in (body.profiles or {}).items()})


def _invalid_fields(document: Document, wrong: ValidationError) -> Iterator[Mistake]:
    """The invalid fields, except those that could not be parsed, which are mistakes already."""
    unparsed = {mistake.field for mistake in document.mistakes}
    for error in wrong.errors(include_url=False, include_input=False, include_context=False):
        path = field_path(error["loc"])
        if path not in unparsed:
            yield Mistake(document.line(error["loc"]), path, error["msg"])


def _duplicates(document: Document) -> Iterator[Mistake]:
    """Service ids that are in the file more than once."""
    value = document.value if isinstance(document.value, Mapping) else {}
    services = value.get("services")
    ids = [_id(service) for service in services] if isinstance(services, list) else []
    count = Counter(ids)
    for index, service_id in enumerate(ids):
        if service_id is not None and count[service_id] > 1 and service_id in ids[:index]:
            loc = ("services", index, "service_id")
            first = document.line(("services", ids.index(service_id), "service_id"))
            yield Mistake(document.line(loc), field_path(loc), f"is already in line {first}")


def _id(service: Any) -> str | None:
    service_id = service.get("service_id") if isinstance(service, Mapping) else None
    return service_id if isinstance(service_id, str) else None


def _complaint(path: Path, mistakes: list[Mistake]) -> BadServicesFile:
    lines = [f"  {path}:{one.line}: {one.field + ': ' if one.field else ''}{one.detail}" for one in sorted(mistakes)]
    return BadServicesFile("SERVICES_FILE can't be used:\n" + "\n".join(lines))
