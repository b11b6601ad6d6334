"""The SERVICES_FILE: static services, and profiles. Whatever is wrong in it is named at once, with its line and field.

    services:
      - {service_id: asr-1, endpoint: "http://asr-1:9000/", metadata: {type: ASR}, capacity: 40}
    profiles:
      voice-bot: [asr-1, {type: TTS, labels: {language: de}}]

A service has the fields of a registration; what sessions may require, the profiles may.
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
from http_api.settings.settings import BadSettings
from http_api.settings.yaml_lines import Document, Mistake, read_yaml
from manager_agent.outbound.address_policy import AddressPolicy
from manager_agent.registry.services import RegisteredService


class BadServicesFile(BadSettings):
    """The SERVICES_FILE can't be used. The message names every mistake, and shows no value."""


@dataclass(frozen=True, slots=True)
class ServicesFile:
    services: tuple[RegisteredService, ...] = ()
    profiles: Profiles = field(default_factory=dict)


def read_services_file(path: Path, at: float, address_policy: AddressPolicy) -> ServicesFile:
    """What stands in the file, its services registered at this instant. Raises BadServicesFile."""
    try:
        document = read_yaml(path.read_bytes())
    except OSError as error:
        raise BadServicesFile(f"SERVICES_FILE: {path} can't be read: {error.strerror}") from None
    mistakes = [*document.mistakes, *_twice(document)]
    try:
        body = ServicesFileBody.model_validate(document.value or {}, context={"address_policy": address_policy})
    except ValidationError as wrong:
        mistakes += _misfits(document, wrong)
    if mistakes:
        raise _complaint(path, mistakes)
    services = tuple(service.service(at, static=True) for service in body.services or ())
    return ServicesFile(services, {name: requirements_of(entries) for name, entries in (body.profiles or {}).items()})


def _misfits(document: Document, wrong: ValidationError) -> Iterator[Mistake]:
    """What does not fit, but for fields of which it is said already that they can't be understood."""
    said = {mistake.field for mistake in document.mistakes}
    for error in wrong.errors(include_url=False, include_input=False, include_context=False):
        path = field_path(error["loc"])
        if path not in said:
            yield Mistake(document.line(error["loc"]), path, error["msg"])


def _twice(document: Document) -> Iterator[Mistake]:
    """Service ids that stand in the file more than once."""
    value = document.value if isinstance(document.value, Mapping) else {}
    services = value.get("services")
    ids = [_id(service) for service in services] if isinstance(services, list) else []
    count = Counter(ids)
    for index, service_id in enumerate(ids):
        if service_id is not None and count[service_id] > 1 and service_id in ids[:index]:
            loc = ("services", index, "service_id")
            first = document.line(("services", ids.index(service_id), "service_id"))
            yield Mistake(document.line(loc), field_path(loc), f"stands in line {first} already")


def _id(service: Any) -> str | None:
    service_id = service.get("service_id") if isinstance(service, Mapping) else None
    return service_id if isinstance(service_id, str) else None


def _complaint(path: Path, mistakes: list[Mistake]) -> BadServicesFile:
    lines = [f"  {path}:{one.line}: {one.field + ': ' if one.field else ''}{one.detail}" for one in sorted(mistakes)]
    return BadServicesFile("SERVICES_FILE can't be used:\n" + "\n".join(lines))
