"""The file of registrations. They survive a restart because a service may register only once.

The file is one JSON document, replaced atomically: a reader finds the old or the new one, never a partial one.
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
"""The file's mode: readable by us only, as metadata of services may be confidential."""
LATEST = 4e9
"""The latest plausible time of a registration, in the year 2096."""


class SavedRegistration(BaseModel):
    """One registration. Of its state only `draining` is saved: a service reports it once. Fields of later versions are
    ignored."""

    service: RegisteredService
    draining: bool = False


class RegistrySnapshot(BaseModel):
    """The content of the file. Entries are validated one by one: an invalid one does not affect the others."""

    version: Literal[1]
    services: list[Any]


def snapshot(instances: Iterable[Instance]) -> bytes:
    """The content of the file. Static services are left out: they have their own file."""
    saved = (
        SavedRegistration(service=one.service, draining=one.draining) for one in instances if not one.service.static
    )
    # One by one: serializing thousands in one call would hold the interpreter's lock, and with it the event loop.
    entries = ",\n".join(one.model_dump_json() for one in saved)
    return f'{{"version":1,"services":[\n{entries}\n]}}\n'.encode()


def write(directory: Path, content: bytes) -> None:
    """Replace the file; it is synced to disk on return. Raises OSError, which leaves the old file in place."""
    directory.mkdir(parents=True, exist_ok=True)
    new = directory / f"{FILE}.new"
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(directory / FILE)
    with suppress(PermissionError):  # Windows can't open a directory and does not need to
        _sync(directory)


def read(directory: Path) -> Sequence[Instance]:
    """The saved registrations; none if there is no file.

    Invalid entries are left out; the file is then renamed and the damage logged. Raises OSError if the file can't be
    read or renamed: then it must not be replaced.
    """
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
    saved = SavedRegistration.model_validate(entry)
    service = saved.service
    if not service.service_id or (service.endpoint is None and service.agent_name is None):
        raise ValueError("a service without an id, or without endpoint and agent_name")
    if service.capacity is not None and service.capacity < 1:
        raise ValueError("capacity below 1")
    if service.lease_seconds is not None and not 0 < service.lease_seconds < math.inf:
        raise ValueError("an invalid lease_seconds")
    if not 0 <= service.registered_at < LATEST:
        raise ValueError("an invalid registered_at")
    return Instance(service, draining=saved.draining)


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'all of it'}: {first['msg']}"


def _set_aside(path: Path, why: str, kept: int) -> None:
    """Rename the damaged file and log it. Raises OSError."""
    aside = path.with_name(f"{FILE}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    path.rename(aside)
    hint = "restart the missing services, unless they register again by themselves"
    log.error("registrations_damaged", file=str(path), why=why, kept=kept, hint=hint, set_aside=str(aside))


def _sync(directory: Path) -> None:
    """Sync the directory, so that the rename survives a power failure."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
