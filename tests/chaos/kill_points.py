"""The points of a campaign: when which run is disturbed how, all drawn from one seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random

from tests.chaos.disturbances import FAULTS, KILL
from tests.chaos.happenings import Moment
from tests.chaos.moments import DURING_RECOVERY, MOMENTS

FIRST_FAULT = 1_000
"""The number of the first point that is another fault than a kill."""
DELAY_MAX = 0.05
"""Seconds between a moment that does not hold and the strike."""


@dataclass(frozen=True, slots=True)
class KillPoint:
    seed: str
    number: int
    moment: Moment
    count: int
    """It strikes when the moment has come so many times."""
    delay: float
    again: Moment | None = None
    """It strikes again at this moment after the restart."""
    disturbance: str = KILL

    @property
    def kind(self) -> str:
        if self.disturbance != KILL:
            return self.disturbance
        return self.moment.kind if self.again is None else self.again.kind

    @property
    def command(self) -> str:
        """Repeats it."""
        return f"scripts/chaos --seed {self.seed} --only {self.number}"

    def __str__(self) -> str:
        again = f", and {self.again}" if self.again else ""
        return f"#{self.number} {self.disturbance}, {self.moment} (no. {self.count}, +{self.delay * 1e3:.0f} ms{again})"


def kill_points(seed: str, count: int) -> list[KillPoint]:
    """So many points, spread over the kinds."""
    return [_point(seed, number, moment) for number, moment in zip(range(count), _spread(Random(seed)), strict=False)]


def fault_points(seed: str) -> list[KillPoint]:
    """Each fault once, at a moment drawn by seed."""
    moments = Random(f"{seed}/faults").sample(MOMENTS, len(FAULTS))
    numbered = enumerate(zip(FAULTS, moments, strict=True), start=FIRST_FAULT)
    return [replace(_point(seed, number, moment), disturbance=fault) for number, (fault, moment) in numbered]


def _spread(random: Random) -> Iterator[Moment]:
    """Moments, without end: the kinds take turns, and each kind its moments."""
    by_kind: dict[str, list[Moment]] = {}
    for moment in MOMENTS + DURING_RECOVERY:
        by_kind.setdefault(moment.kind, []).append(moment)
    for moments in by_kind.values():
        random.shuffle(moments)
    turn = 0
    while True:
        kinds = list(by_kind)
        random.shuffle(kinds)
        yield from (by_kind[kind][turn % len(by_kind[kind])] for kind in kinds)
        turn += 1


def _point(seed: str, number: int, moment: Moment) -> KillPoint:
    random = Random(f"{seed}/{number}")
    again = moment if moment in DURING_RECOVERY else None
    if again is not None:
        moment = random.choice([one for one in MOMENTS if one.kind in ("ready", "token", "replacement")])
    count, delay = random.randint(1, moment.most), 0.0 if moment.holds else random.uniform(0.0, DELAY_MAX)
    return KillPoint(seed, number, moment, count, delay, again)
