"""What the client, the services and the user of each session of a run do, drawn from its seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random
from typing import Any


class Means(StrEnum):
    """How a service says that it is ready."""

    JOIN = "join"
    RPC = "rpc"
    DATA = "data"
    ATTRIBUTE = "attribute"
    HTTP = "http"


class Failure(StrEnum):
    """What the first attempt of a service does instead of its work."""

    DECLINES = "declines"
    LEAVES = "leaves"
    FAILS = "fails"
    """It says so and stays in the room."""


ALONE = {f"by-{means}": means for means in Means}
"""Services that are required by id, and how they say ready."""
PAIRED = {"TTS": (Means.RPC, ("tts-1", "tts-2")), "NLU": (Means.HTTP, ("nlu-1", "nlu-2"))}
"""Services that are required by type: if one fails, the other takes its place."""


@dataclass(frozen=True, slots=True)
class EntryScript:
    """One required service."""

    service_ids: tuple[str, ...]
    """Those that may serve."""
    requirement: str | dict[str, Any]
    means: Means
    pause: float
    """Seconds until it joins, and again until it says ready."""
    failure: Failure | None = None
    """Of its first attempt."""


@dataclass(frozen=True, slots=True)
class SessionScript:
    number: int
    entries: tuple[EntryScript, ...]
    prefer: str
    user_joins: bool
    invites_guest: bool
    renews_token: bool
    lasts: float | None
    """Seconds from its token until its client ends it; None: it lasts until the end of the run."""

    @property
    def metadata(self) -> dict[str, Any]:
        """By it the services know their script."""
        return {"script": self.number, "topic": "天气"}

    def entry_of(self, service_id: str) -> int:
        return next(number for number, entry in enumerate(self.entries) if service_id in entry.service_ids)


def scripts(random: Random, first_number: int) -> list[SessionScript]:
    """The sessions of one run. A failure, both ways to end, two users, a guest and a renewed token occur in every run:
    there are moments of each."""
    ends = _script(random, first_number + 1, lasts=random.uniform(0.0, 1.0))
    lasts = _script(random, first_number + 2)
    return [
        _script(random, first_number, fails=random.choice(list(Failure)), paired=("TTS", "NLU")),
        replace(ends, user_joins=True),
        replace(lasts, user_joins=True, invites_guest=True, renews_token=True),
        _script(random, first_number + 3, lasts=random.choice((None, random.uniform(0.0, 2.0)))),
    ]


def _script(
    random: Random,
    number: int,
    *,
    fails: Failure | None = None,
    paired: tuple[str, ...] = (),
    lasts: float | None = None,
) -> SessionScript:
    alone = random.sample(list(ALONE), k=random.randint(0 if paired else 1, 1 if paired else 3))
    entries = [EntryScript((name,), name, ALONE[name], random.uniform(0.0, 0.3)) for name in alone]
    for type_name in paired:
        means, service_ids = PAIRED[type_name]
        entries.append(EntryScript(service_ids, {"type": type_name}, means, random.uniform(0.0, 0.3), fails))
    return SessionScript(
        number,
        tuple(entries),
        prefer=random.choice(("respond-async", "wait=1", "wait=20")),
        user_joins=random.random() < 0.5,
        invites_guest=random.random() < 0.4,
        renews_token=random.random() < 0.6,
        lasts=lasts,
    )
