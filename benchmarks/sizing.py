"""Compute what machines hold from measured figures: `python -m benchmarks.sizing`.

Not a measurement: each figure that it starts from is printed by the benchmark that is named beside it, and can be
given as an option as your machines have it. docs/scaling.md has the table, and what it leaves out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

CORES_OF_A_MACHINE = 2
"""Each runs one replica: a replica is one process on one core."""
NUMBERS = 1, 3, 10, 20, 50


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredFigures:
    """CPU in ms of one core, memory in MB and KB."""

    start_ms: float = field(default=89.6, metadata={"of": "replicas: CPU ms each, 2 replicas"})
    """To create a session, with its room, manager and requests."""
    acting_ms: float = field(default=6.0, metadata={"of": "following: the replica that acts for it"})
    """To record what happens in a session with 3 services."""
    following_ms: float = field(default=3.0, metadata={"of": "following: each replica that follows"})
    redis_ms: float = field(default=2.5, metadata={"of": "following: Redis"})
    told_kib: float = field(
        default=36.5, metadata={"of": "redis_session: KiB received from Redis, for each more replica"}
    )
    idle_share: float = field(default=0.046, metadata={"of": "room_cost: idle, % of a core per room"})
    room_mb: float = field(default=1.11, metadata={"of": "room_cost: MB PSS per room"})
    base_mb: float = field(default=87.0, metadata={"of": "room_cost: MB PSS without rooms"})
    mirrored_kb: float = field(default=5.4, metadata={"of": "redis_growth: KB in a replica per session"})
    stored_kb: float = field(default=2.8, metadata={"of": "redis_growth: KB in Redis per session"})


@dataclass(frozen=True, slots=True)
class DeploymentSize:
    """What a number of replicas holds when each is busy for the share of its core that is allowed."""

    replicas: int
    rooms: float
    """At the same time, in all."""
    starts: float
    """Sessions that begin in a second, in all."""
    following_share: float
    """Of a replica's work: what it does for the sessions of the others."""
    replica_mb: float
    redis_share: float
    """Of Redis' one core."""
    redis_mb: float
    told_mb: float
    """That Redis sends all replicas in a second."""


def size_of(
    replicas: int, figures: MeasuredFigures, *, minutes: float, kept_minutes: float, busy: float
) -> DeploymentSize:
    """`minutes`: how long a session lasts; `kept_minutes`: how long it is kept after its end; `busy`: the share of its
    core that a replica may use."""
    seconds = 60.0 * minutes
    own = (figures.start_ms + figures.acting_ms) / 1_000 + seconds * figures.idle_share / 100
    others = (replicas - 1) * figures.following_ms / 1_000
    starts = replicas * busy / (own + others)
    rooms, stored = starts * seconds, starts * 60.0 * (minutes + kept_minutes)
    return DeploymentSize(
        replicas,
        rooms,
        starts,
        others / (own + others),
        figures.base_mb + rooms / replicas * figures.room_mb + stored * figures.mirrored_kb / 1_000,
        starts * figures.redis_ms / 1_000,
        stored * figures.stored_kb / 1_000,
        replicas * starts * figures.told_kib * 1_024 / 1_000_000,
    )


def show(sizes: Sequence[DeploymentSize], minutes: float, busy: float) -> None:
    print(f"\nSessions of {minutes:g} minutes, replicas busy for {busy:.0%} of a core")
    print(f"{'replicas':<44} " + " ".join(f"{one.replicas:>9}" for one in sizes))
    rows: dict[str, list[str]] = {
        "rooms at the same time": [f"{one.rooms:,.0f}" for one in sizes],
        "sessions that begin in a second": [f"{one.starts:.1f}" for one in sizes],
        "rooms of a replica": [f"{one.rooms / one.replicas:,.0f}" for one in sizes],
        "its work for sessions of the others, %": [f"{100 * one.following_share:.0f}" for one in sizes],
        "its memory, MB": [f"{one.replica_mb:,.0f}" for one in sizes],
        "Redis, % of a core": [f"{100 * one.redis_share:.0f}" for one in sizes],
        "Redis, MB of sessions": [f"{one.redis_mb:,.0f}" for one in sizes],
        "Redis sends, MB in a second": [f"{one.told_mb:.1f}" for one in sizes],
        "machines of 2 cores": [f"{-(-one.replicas // CORES_OF_A_MACHINE)}" for one in sizes],
    }
    for name, values in rows.items():
        print(f"{name:<44} " + " ".join(f"{value:>9}" for value in values))


def _help(text: str) -> str:
    """The text as argparse wants it, which formats it with `%`."""
    return text.replace("%", "%%")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, nargs="+", default=NUMBERS)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long a session lasts")
    parser.add_argument("--kept-minutes", type=float, default=60.0, help="how long it is kept after its end")
    parser.add_argument("--busy", type=float, default=0.7, help="the share of its core that a replica may use")
    for one in fields(MeasuredFigures):
        parser.add_argument(
            f"--{one.name.replace('_', '-')}", type=float, default=one.default, help=_help(one.metadata["of"])
        )
    given = vars(parser.parse_args())
    figures = MeasuredFigures(**{one.name: given[one.name] for one in fields(MeasuredFigures)})
    how = {name: given[name] for name in ("minutes", "kept_minutes", "busy")}
    show([size_of(number, figures, **how) for number in given["replicas"]], given["minutes"], given["busy"])


if __name__ == "__main__":
    main()
