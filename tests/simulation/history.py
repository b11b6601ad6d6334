"""What a simulation is made of: its sessions and its faults, drawn from a seed.

A history is a value. The same one gives the same run, and one with less in it is a shorter history of the same kind:
the chances of each session come from its own number, so they stay when others are left out.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

START = 1_000_000.0
"""The first instant, in seconds since the epoch."""
NODES, SESSIONS, RATE = 5, 200, 8.0
"""Replicas, sessions, and sessions asked for in a second and by each replica."""
CALM = 20.0
"""The least seconds from one fault to the next in one history."""


class FaultKind(StrEnum):
    KILL = "kill"
    """A replica is killed, and started again."""
    FREEZE = "freeze"
    """A replica stands still."""
    DRAIN = "drain"
    """A replica stops in order, and is started again."""
    CUT_FROM_REDIS = "cut from redis"
    CUT_FROM_LIVEKIT = "cut from livekit"
    REDIS_SLOW = "redis slow"
    REDIS_RESTART = "redis restart"
    """Redis comes back with all that it had."""
    REDIS_ROLLBACK = "redis rollback"
    """Redis comes back without its last second: an append-only file synced once a second, or a fail-over."""
    REDIS_EMPTY = "redis empty"
    LIVEKIT_AWAY = "livekit away"
    LIVEKIT_NODE_KILL = "livekit node kill"
    """The rooms of a node are gone, and no webhook says so."""
    LIVEKIT_REDIS_RESTART = "livekit redis restart"
    """LiveKit's nodes can't hear of each other, and one room may be at two of them: those at one do not see those at
    the other, and it is stored again after it was deleted, and then no node has it."""
    WEBHOOKS_LOST = "webhooks lost"
    LISTS_LAG = "lists lag"
    SERVICE_DOWN = "service down"


LONGEST = {
    FaultKind.KILL: 5.0,
    FaultKind.FREEZE: 30.0,
    FaultKind.DRAIN: 3.0,
    FaultKind.CUT_FROM_REDIS: 20.0,
    FaultKind.CUT_FROM_LIVEKIT: 15.0,
    FaultKind.REDIS_SLOW: 15.0,
    FaultKind.REDIS_RESTART: 12.0,
    FaultKind.REDIS_ROLLBACK: 8.0,
    FaultKind.REDIS_EMPTY: 8.0,
    FaultKind.LIVEKIT_AWAY: 10.0,
    FaultKind.LIVEKIT_NODE_KILL: 5.0,
    FaultKind.LIVEKIT_REDIS_RESTART: 20.0,
    FaultKind.WEBHOOKS_LOST: 20.0,
    FaultKind.LISTS_LAG: 20.0,
    FaultKind.SERVICE_DOWN: 20.0,
}
"""The most seconds that a fault of a kind lasts."""


@dataclass(frozen=True, slots=True, order=True)
class SimulatedFault:
    at: float
    """Seconds since the start."""
    kind: FaultKind
    target: int = 0
    """The number of the replica, LiveKit node or service instance that it happens to."""
    seconds: float = 1.0

    def __str__(self) -> str:
        return f"{self.at:9.3f} s  {self.kind} {self.target} for {self.seconds:.3f} s"


@dataclass(frozen=True, slots=True, order=True)
class PlannedSession:
    at: float
    """When it is asked for, in seconds since the start."""
    number: int

    def __str__(self) -> str:
        return f"{self.at:9.3f} s  session {self.number} is asked for"


@dataclass(frozen=True, slots=True)
class History:
    seed: int
    nodes: int
    sessions: tuple[PlannedSession, ...]
    faults: tuple[SimulatedFault, ...] = ()
    instances: int = 0
    """Service instances of each type; 0: as many as are needed."""

    def chances(self, *names: object) -> random.Random:
        """The chances of one part of the world, the same whatever else happens in it."""
        return random.Random("/".join(map(str, (self.seed, *names))))

    @property
    def lasts(self) -> float:
        """Seconds until the last session is asked for and the last fault is over."""
        ends = [fault.at + fault.seconds for fault in self.faults]
        return max([*ends, *(script.at for script in self.sessions)], default=0.0)

    def __str__(self) -> str:
        parts: list[SimulatedFault | PlannedSession] = [*self.faults, *self.sessions]
        lines = [str(part) for part in sorted(parts, key=lambda part: part.at)]
        return "\n".join([f"seed {self.seed}, {self.nodes} replicas", *lines])


def drawn(
    seed: int,
    *,
    nodes: int = NODES,
    sessions: int = SESSIONS,
    rate: float = RATE,
    kinds: Iterable[FaultKind] = tuple(FaultKind),
) -> History:
    """The history of this seed: sessions at random instants, and a fault of a random kind every now and then."""
    chances = random.Random(f"{seed}/history")
    lasts = sessions / (rate * nodes)
    scripts = tuple(sorted(PlannedSession(round(chances.uniform(0, lasts), 3), number) for number in range(sessions)))
    allowed, faults, at = sorted(kinds), list[SimulatedFault](), chances.uniform(3.0, 8.0)
    while allowed and at < lasts + 20.0:
        kind = chances.choice(allowed)
        seconds = round(chances.uniform(0.5, LONGEST[kind]), 3)
        faults.append(SimulatedFault(round(at, 3), kind, chances.randrange(1_000), seconds))
        at += CALM * chances.uniform(0.3, 2.0)
    return History(seed, nodes, scripts, tuple(faults))
