"""The registrations in a file, so that they survive a restart: services register once, and may never do so again.

One JSON document, replaced as a whole: whoever reads it finds the old one or the new one, never half of one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from manager_agent.instances import Instance
from manager_agent.services import Service

log = structlog.get_logger()

FILE = "services.json"
PRIVATE = 0o600
"""For us alone: services may tell of themselves what is nobody else's business."""


class Kept(BaseModel):
    """One registration. How it is doing will be seen; that it drains would never be said again."""

    model_config = ConfigDict(extra="forbid")

    service: Service
    draining: bool = False


class Snapshot(BaseModel):
    """What stands in the file."""

    model_config = ConfigDict(extra="forbid")

    version: Literal[1]
    services: list[Kept]


def snapshot(instances: Iterable[Instance]) -> bytes:
    """The registrations as they are to be kept. Static ones are not: they have their own file."""
    kept = [Kept(service=one.service, draining=one.draining) for one in instances if not one.service.static]
    return Snapshot(version=1, services=kept).model_dump_json(indent=1).encode() + b"\n"


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
    """What was kept; nothing if there is no file. One that can't be understood is set aside, with a message."""
    path = directory / FILE
    try:
        kept = Snapshot.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return ()
    except OSError as error:
        log.warning("registrations_not_read", file=str(path), why=error.strerror)
        return ()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        _set_aside(path, f"{'.'.join(map(str, first['loc'])) or 'all of it'}: {first['msg']}")
        return ()
    return [Instance(one.service, draining=one.draining) for one in kept.services]


def _set_aside(path: Path, why: str) -> None:
    aside = path.with_name(f"{FILE}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    hint = "started without registrations: services that do not register again by themselves have to be told"
    try:
        path.rename(aside)
    except OSError as error:
        log.error("registrations_damaged", file=str(path), why=why, hint=hint, not_set_aside=error.strerror)
    else:
        log.error("registrations_damaged", file=str(path), why=why, hint=hint, set_aside=str(aside))


def _sync(directory: Path) -> None:
    """Makes the replacement itself outlive a loss of power."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
