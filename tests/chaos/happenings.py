"""What the harness sees happen, and the moments at which it strikes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Facts = Mapping[str, Any]


def _always(_: Facts) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happens several times during a run."""

    kind: str
    """What the session manager is about to do, or has just done."""
    name: str
    where: Callable[[Facts], bool] = _always
    holds: bool = False
    """Whether what happens waits for the strike: nothing follows it."""
    most: int = 4
    """It happens at least so often in most runs."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"


@dataclass(eq=False)
class AwaitedMoment:
    moment: Moment
    remaining: int
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    struck: asyncio.Event = field(default_factory=asyncio.Event)


class Happenings:
    def __init__(self) -> None:
        self._awaited: list[AwaitedMoment] = []

    def await_moment(self, moment: Moment, count: int) -> AwaitedMoment:
        """Let `reached` be set when the moment comes for the `count`-th time from now."""
        awaited = AwaitedMoment(moment, count)
        self._awaited.append(awaited)
        return awaited

    async def happens(self, name: str, **facts: Any) -> bool:
        """Report that something happens. Returns True if it was held until the strike: then it must not go on."""
        for awaited in self._awaited:
            if awaited.remaining <= 0 or awaited.moment.name != name or not awaited.moment.where(facts):
                continue
            awaited.remaining -= 1
            if awaited.remaining == 0:
                awaited.reached.set()
                if awaited.moment.holds:
                    await awaited.struck.wait()
                    return True
        return False

    def let_go(self) -> None:
        """Nothing is awaited any more."""
        for awaited in self._awaited:
            awaited.remaining = 0
            awaited.struck.set()
        self._awaited.clear()
