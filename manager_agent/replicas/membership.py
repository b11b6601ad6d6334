"""This replica among the others: it renews its lease in Redis, tells about itself, and learns who else is there.

One script call a second does all of that. A replica that is started again is another one.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import structlog

from manager_agent.redis.connection import RedisAway, RedisConnection
from manager_agent.redis.script import load_script
from manager_agent.replicas.lease import INTERVAL, LEASE, QUIET, ReplicaInfo, ReplicaLease, Roll, changes
from manager_agent.tasks import Tasks

log = structlog.get_logger()

RENEW, LEAVE = load_script("renew_lease"), load_script("leave")
AWAY_PAUSE = 0.25
"""Seconds until Redis is asked again when it did not answer."""
LEAVE_TIMEOUT = 1.0
CLOCKS_AGREE = 3.0
"""Seconds by which this machine's clock may differ from Redis', the time of an answer included."""


class Informed(Protocol):
    async def caught_up(self) -> None:
        """Wait until everything is known here that was in Redis when this was called. Raises RedisAway."""


class Membership:
    def __init__(
        self,
        connection: RedisConnection,
        changes_of_all: Informed,
        *,
        address: str = "",
        version: str = "",
        lease: float = LEASE,
        interval: float = INTERVAL,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`changes_of_all`: by which this replica learns what others do. `address`: at which its API is reached from
        other replicas. `lease`, `interval`: in seconds; the same in all replicas."""
        self.id = secrets.token_hex(8)
        self._connection, self._changes = connection, changes_of_all
        self._address, self._version = address, version
        self._interval, self._wall_clock = interval, wall_clock
        self._state = ReplicaLease(lease, guard=min(0.5, lease / 10))
        self._quiet = QUIET * interval / INTERVAL
        self.roll = Roll()
        """As Redis last had it."""
        self.is_draining = False
        self._sessions: Callable[[], int] = lambda: 0
        self._can_take: Callable[[], bool] = lambda: True
        self._listeners: list[Callable[[], None]] = []
        self._when_leading: list[Callable[[], None]] = []
        self._was_leader = self._is_clock_doubted = False
        self._renew_now, self._tasks = asyncio.Event(), Tasks()
        self._renewals = 0
        self.failure = "Redis was not asked yet"
        """Why the lease is not renewed, when it is not."""

    def count_sessions_with(self, count: Callable[[], int]) -> None:
        """Have the others told how many live sessions this replica acts for."""
        self._sessions = count

    def take_when(self, can_take: Callable[[], bool]) -> None:
        """Have the others told whether this replica's managers can join rooms now: if not, it gets no sessions as long
        as there are others."""
        self._can_take = can_take

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every answer of Redis, and when none came. It must not block."""
        self._listeners.append(listener)

    def when_leading(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever this replica becomes the leader, and may act. It must not block."""
        self._when_leading.append(listener)

    @property
    def may_act(self) -> bool:
        return self._state.may_act(uptime())

    @property
    def is_held(self) -> bool:
        """Whether the lease is held; it may not be known yet what others did before."""
        return self._state.is_held(uptime())

    @property
    def is_leader(self) -> bool:
        """Whether this replica does what only one of the deployment may do."""
        return self.may_act and self.roll.leader == self.id

    def is_alive(self, replica_id: str) -> bool:
        """Whether a replica of this id may still act, as far as is known here."""
        return not self.roll.is_dead(replica_id)

    async def start(self) -> None:
        """Begin to renew the lease, in the background. Redis does not have to be there yet."""
        self._tasks.spawn(self._run(), name="membership", for_all=True)

    async def aclose(self) -> None:
        """Leave: others take over at once what this replica still has. It must not act any more."""
        await self._tasks.aclose()
        self._state = self._state.ended()
        keys = self._connection.keys
        with suppress(RedisAway, TimeoutError):
            async with asyncio.timeout(LEAVE_TIMEOUT):
                await self._connection.run(LEAVE, [keys.leases, keys.replicas, keys.leader], [self.id])

    async def drain(self) -> None:
        """Tell the others that this replica takes no sessions any more. Returns once they can know, or Redis does not
        answer."""
        self.is_draining = True
        await self.renew()

    async def renew(self) -> None:
        """Renew the lease now. Returns after the answer."""
        renewals = self._renewals
        self._renew_now.set()
        answered = asyncio.Event()
        self._listeners.append(answered.set)
        try:
            while self._renewals < renewals + 2:  # one may have been under way
                answered.clear()
                self._renew_now.set()
                await answered.wait()
        finally:
            self._listeners.remove(answered.set)

    async def _run(self) -> None:
        while True:
            pause = self._interval
            try:
                await self._renew()
                if not self._state.is_informed:
                    await self._inform()
            except RedisAway as away:
                self.failure, pause = str(away), min(AWAY_PAUSE, self._interval)
            except Exception:
                self.failure = "the lease could not be renewed"
                log.exception("membership_fault")
            self._renewals += 1
            began_to_lead, self._was_leader = self.is_leader and not self._was_leader, self.is_leader
            for listener in [*self._listeners, *(self._when_leading if began_to_lead else ())]:
                listener()
            self._renew_now.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._renew_now.wait()

    async def _renew(self) -> None:
        """Raises RedisAway."""
        keys, state = self._connection.keys, self._state
        told = {"address": self._address, "version": self._version, "draining": self.is_draining}
        told["can_take"] = self._can_take()
        sent_at = uptime()
        answer = await self._connection.run(
            RENEW,
            [keys.leases, keys.replicas, keys.leader],
            [
                self.id,
                json.dumps({**told, "sessions": self._sessions()}),
                round(state.seconds * 1000),
                round(self._quiet * 1000),
                int(not self.is_draining),
            ],
        )
        self._state = self._state.renewed(sent_at, uptime())
        self._compare_clocks(answer[0] / 1000)
        before, self.roll = self.roll, read_roll(answer[1:]).after(self.roll)
        self._log_changes(before)

    async def _inform(self) -> None:
        """Learn what others did before the lease was held. Raises RedisAway."""
        asked_at = uptime()
        await self._changes.caught_up()
        self._state = self._state.informed(asked_at)

    def _compare_clocks(self, redis_time: float) -> None:
        """Sessions have instants of all replicas, so their clocks must agree."""
        ahead = self._wall_clock() - redis_time
        is_doubted = abs(ahead) > CLOCKS_AGREE
        if is_doubted and not self._is_clock_doubted:
            log.warning("clock_differs", ahead=round(ahead, 1), hint="let all machines set their clocks by NTP")
        self._is_clock_doubted = is_doubted

    def _log_changes(self, before: Roll) -> None:
        for what, one in changes(before, self.roll):
            if one.replica_id == self.id:
                continue
            about = {"replica": one.replica_id, "address": one.address, "version": one.version}
            match what:
                case "joined":
                    log.info("replica_joined", **about)
                case "left":
                    log.info("replica_left", **about)
                case _:
                    log.warning("lease_lapsed", sessions=one.sessions, **about)
        if self.roll.leader and self.roll.leader != before.leader:
            log.info("leader_changed", replica=self.roll.leader, is_this=self.roll.leader == self.id)


def read_roll(answer: Sequence[Any]) -> Roll:
    """What lua/renew_lease.lua returned after the time. What another version tells is read as far as it is known."""
    leader, grace, *rest = answer
    alive: dict[str, ReplicaInfo] = {}
    left: set[str] = set()
    for raw_id, remaining, told in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
        replica_id = raw_id.decode(errors="replace")
        if remaining < 0:
            left.add(replica_id)
        elif remaining > 0:
            alive[replica_id] = _read_replica(replica_id, told)
    return Roll(alive, frozenset(left), leader.decode(errors="replace"), int(grace) / 1000)


def _read_replica(replica_id: str, told: bytes) -> ReplicaInfo:
    try:
        read = json.loads(told)
    except ValueError:
        read = {}
    if not isinstance(read, dict):
        read = {}
    sessions = read.get("sessions")
    return ReplicaInfo(
        replica_id,
        address=str(read.get("address", "")),
        version=str(read.get("version", "")),
        is_draining=read.get("draining") is True,
        can_take=read.get("can_take") is not False,
        sessions=sessions if isinstance(sessions, int) and sessions >= 0 else 0,
    )


def uptime() -> float:
    """Monotonic seconds, which include the time in which the machine was suspended where the system can tell."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
