"""The registrations in a file, so that they survive a restart: services register once, and may never do so again.

One JSON document, replaced as a whole: whoever reads it finds the old one or the new one, never half of one.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import structlog
from pydantic import BaseModel, ValidationError

from manager_agent.registry.instances import Instance
from manager_agent.registry.services import RegisteredService

log = structlog.get_logger()

FILE = "services.json"
PRIVATE = 0o600
"""For us alone: services may tell of themselves what is nobody else's business."""


LATEST = 4e9
"""No registration was made after this instant, in the year 2096."""


class Kept(BaseModel):
    """One registration. How it is doing will be seen; that it drains would never be said again. What a later version
    of this program has written beside that is passed over."""

    service: RegisteredService
    draining: bool = False


class RegistrySnapshot(BaseModel):
    """What stands in the file. Each registration is judged by itself, so that a bad one takes no other with it."""

    version: Literal[1]
    services: list[Any]


def snapshot(instances: Iterable[Instance]) -> bytes:
    """The registrations as they are to be kept. Static ones are not: they have their own file."""
    kept = [Kept(service=one.service, draining=one.draining) for one in instances if not one.service.static]
    return RegistrySnapshot(version=1, services=kept).model_dump_json(indent=1).encode() + b"\n"


def write(directory: Path, content: bytes) -> None:
    """Replaces the file. It is on the disk when this returns. Raises OSError, and then the old one is still there."""
    directory.mkdir(parents=True, exist_ok=True)
    new = directory / f"{FILE}.new"
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(directory / FILE)
    with suppress(PermissionError):  # Windows can't open a directory, and needs not
        _sync(directory)


def read(directory: Path) -> Sequence[Instance]:
    """What was kept; nothing if there is no file. What can't be understood is left out, and the file set aside with a
    message. Raises OSError when the file can't be read, or not be set aside: then it must not be replaced."""
    path = directory / FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return ()
    try:
        found = RegistrySnapshot.model_validate_json(content)
    except ValidationError as error:
        _set_aside(path, _first(error), kept=0)
        return ()
    instances, faults = [], []
    for entry in found.services:
        try:
            instances.append(_instance(entry))
        except ValueError as error:  # pydantic's own is one, too
            faults.append(_first(error) if isinstance(error, ValidationError) else str(error))
    if faults:
        _set_aside(path, f"{len(faults)} of {len(found.services)}: {faults[0]}", kept=len(instances))
    return instances


def _instance(entry: Any) -> Instance:
    """Raises ValueError."""
    kept = Kept.model_validate(entry)
    service = kept.service
    if not service.service_id or (service.endpoint is None and service.agent_name is None):
        raise ValueError("a service without an id, or without endpoint and agent_name")
    if service.capacity is not None and service.capacity < 1:
        raise ValueError("capacity below 1")
    if service.lease_seconds is not None and not 0 < service.lease_seconds < math.inf:
        raise ValueError("a lease that is no time")
    if not 0 <= service.registered_at < LATEST:
        raise ValueError("registered at no time")
    return Instance(service, draining=kept.draining)


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'all of it'}: {first['msg']}"


def _set_aside(path: Path, why: str, kept: int) -> None:
    """Raises OSError."""
    aside = path.with_name(f"{FILE}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    path.rename(aside)
    hint = "services that are missing now, and do not register again by themselves, have to be told"
    log.error("registrations_damaged", file=str(path), why=why, kept=kept, hint=hint, set_aside=str(aside))


def _sync(directory: Path) -> None:
    """Makes the replacement itself outlive a loss of power."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
