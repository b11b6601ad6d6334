"""Whether two replicas ever acted for one session at the same time, from what they logged with fencing numbers before
each act."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from tests.live.replicas.replica import LoggedLine, ReplicaProcess

ACT, BEGINNING = "room_act", "acting"
OF_ANY_REPLICA = frozenset({"user_token"})
"""What also a replica may do that does not own the session."""


@dataclass(frozen=True, slots=True, order=True)
class RoomAct:
    at: float
    """Seconds since the epoch."""
    act: str
    session_id: str
    fence: int
    process: str
    """The replica that acted: each process has another."""


def acts_of(replicas: Iterable[ReplicaProcess]) -> list[RoomAct]:
    """What all their processes did as owners of sessions, also those that have ended."""
    acts: list[RoomAct] = []
    for replica in replicas:
        process = replica.name
        for line in replica.lines(ACT, BEGINNING):
            if line.event == BEGINNING:
                process = line.fields["process"]
            elif (fence := _fence(line)) is not None:
                acts.append(RoomAct(line.at, line.fields["act"], line.fields["session_id"], fence, process))
    return sorted(acts)


def double_owners(acts: Iterable[RoomAct]) -> list[str]:
    """What was done by two owners at once: with a fencing number that another process had, or after the next owner had
    begun. Empty if all is well."""
    found: list[str] = []
    by_session: dict[str, list[RoomAct]] = defaultdict(list)
    for act in sorted(acts):
        by_session[act.session_id].append(act)
    for session_id, done in by_session.items():
        holders: dict[int, str] = {}
        latest = done[0]
        for act in done:
            if (holder := holders.setdefault(act.fence, act.process)) != act.process:
                found.append(f"{session_id}: {act.process} and {holder} both had the fencing number {act.fence}")
            if act.fence < latest.fence:
                late = act.at - latest.at
                found.append(f"{session_id}: {act} came {late:.3f} s after {latest}")
            else:
                latest = act
    return found


def _fence(line: LoggedLine) -> int | None:
    fence = line.fields.get("fence", "")
    return int(fence) if line.fields.get("act") not in OF_ANY_REPLICA and fence.isdigit() else None
