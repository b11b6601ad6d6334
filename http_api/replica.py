"""What requests need to know of the replicas: whether this one knows what was written through others, and who they
are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiohttp import web

from manager_agent.redis.changelog import ChangeLog
from manager_agent.redis.write_probe import WriteProbe
from manager_agent.replicas.drain import Drain
from manager_agent.replicas.lease import ReplicaInfo

CHANGELOG: web.AppKey[ChangeLog | None] = web.AppKey("CHANGELOG")
"""None: there are no other replicas."""


async def caught_up(app: web.Application) -> None:
    """Return once everything is known here that was written before the call. Raises RedisAway."""
    if (changelog := app[CHANGELOG]) is not None:
        await changelog.caught_up()


WRITE_PROBE: web.AppKey[WriteProbe | None] = web.AppKey("WRITE_PROBE")
"""None: there are no other replicas."""


async def require_writes(app: web.Application) -> None:
    """Return if what changes now can be told to the other replicas: what can't must not be known to this one only.
    Raises RedisAway."""
    if (probe := app[WRITE_PROBE]) is not None:
        await probe.require_writes()


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """What one replica knows of itself and the others."""

    own_id: str
    replicas: Sequence[ReplicaInfo]
    """All that are alive, by id; with this one, unless its lease lapsed."""
    leader: str
    """The id of the one that compares the sessions with LiveKit's rooms; empty if there is none at the moment."""
    sessions_owned: int
    """The live sessions for which this replica acts."""
    is_draining: bool
    """Whether it hands its sessions over and takes none."""
    why_away: str | None
    """Why Redis does not carry out commands; None if it does."""
    why_no_writes: str | None
    """Why Redis refuses writes, although it carries out other commands; None if it takes them."""
    lag: float
    """Seconds by which this replica is behind the changes of the others."""

    @property
    def is_leader(self) -> bool:
        return self.leader == self.own_id


REPLICA_STATUS: web.AppKey[Callable[[], ReplicaStatus] | None] = web.AppKey("REPLICA_STATUS")
"""None: there are no other replicas."""


DRAIN: web.AppKey[Drain | None] = web.AppKey("DRAIN")
"""None: there are no other replicas."""


def replica_status(app: web.Application) -> ReplicaStatus | None:
    """What this process knows of the replicas now; None if there are no others."""
    status = app[REPLICA_STATUS]
    return None if status is None else status()
