"""Stores of several replicas on one real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count
from typing import Any, Self

from manager_agent.clock import Clock
from manager_agent.redis.changelog import ChangeLog
from manager_agent.redis.connection import RedisAway, RedisConnection
from manager_agent.redis.script import Script
from manager_agent.redis.url import read_redis_url
from manager_agent.session.events import Event
from manager_agent.session.session import Session, User
from manager_agent.store.redis import RedisStore
from manager_agent.store.store import Change, RoomNameTaken
from manager_agent.store.stored_session import Ownership
from tests.redis_server import RedisServer
from tests.unit import sessions as given
from tests.unit.sessions import START

READY: list[Event] = [*given.managed(), *given.invited(0), given.seen("sm-asr-1", "PA_1", START + 1)]
"""What makes a session ready that joins one instance."""

_NUMBERS: Iterator[int] = count(1)


class LossyConnection(RedisConnection):
    """Loses the answers to writes, or the writes."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.lost_answers = 0
        """How many of the next scripts are carried out, but not answered."""
        self.lost_writes = 0
        """How many of the next are not carried out, and not answered. After those whose answers are lost."""
        self.is_cut = False
        """Whether no changes can be read."""

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        if script.name == "read_changes":
            if self.is_cut:
                raise RedisAway("cut")
            return await super().run(script, keys, args)
        if self.lost_answers:
            self.lost_answers -= 1
            await super().run(script, keys, args)
            raise RedisAway("lost answer", is_uncertain=True)
        if self.lost_writes:
            self.lost_writes -= 1
            raise RedisAway("lost write", is_uncertain=True)
        return await super().run(script, keys, args)


class StoreReplica:
    """One replica, as far as its store goes: a context manager."""

    def __init__(self, server: RedisServer, clock: Clock, **options: Any) -> None:
        """`options`: of RedisStore."""
        self.replica_id = f"replica-{next(_NUMBERS)}"
        self.connection = LossyConnection(read_redis_url(server.url), server.deployment)
        self.changelog = ChangeLog(self.connection)
        self.store = RedisStore(self.connection, self.changelog, clock, self.replica_id, **options)
        self.told: list[Change] = []
        self.store.listen(self.told.append)

    async def __aenter__(self) -> Self:
        await self.connection.start()
        await self.changelog.start()
        await self.changelog.caught_up()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.changelog.aclose()
        await self.store.aclose()
        await self.connection.aclose()

    @asynccontextmanager
    async def behind(self) -> AsyncIterator[None]:
        """Read no changes meanwhile."""
        async with self.changelog._looking:
            yield

    async def add(self, session: Session) -> None:
        """Again where a busy machine did not answer in time."""
        while True:
            try:
                return await self.store.add(session)
            except RedisAway:
                continue
            except RoomNameTaken:
                if self.store.in_room(session.room_name) == session:
                    return None  # it was added, and its answer came too late
                raise

    async def update(self, session_id: str, event: Event) -> Session:
        """Again where a busy machine did not answer in time."""
        while True:
            with suppress(RedisAway):
                return await self.store.update(session_id, event)

    async def take(self, session_id: str, expected: Ownership) -> Ownership:
        """Become the owner; again where a busy machine did not answer in time."""
        while True:
            with suppress(RedisAway):
                taken = await self.store.take(session_id, expected=expected, owner=self.replica_id)
                assert taken or self.store.owns(session_id)
                return self.store.ownership(session_id)

    async def sessions(self) -> list[Session]:
        """All, once the replica has caught up."""
        await self.changelog.caught_up()
        return list(self.store.list())

    def states_told(self, session_id: str) -> list[Session | None]:
        """What it was told of a session, from the beginning. Each change begins with what the one before led to."""
        changes = [change for change in self.told if change.session_id == session_id]
        assert [change.before for change in changes] == [None, *(change.after for change in changes)][: len(changes)]
        return [change.after for change in changes]


class StoreReplicas:
    """Several of them: a context manager."""

    def __init__(self, server: RedisServer, clock: Clock) -> None:
        self.server, self._clock = server, clock
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def start(self, how_many: int, **options: Any) -> Sequence[StoreReplica]:
        return [await self.start_one(**options) for _ in range(how_many)]

    async def start_one(self, **options: Any) -> StoreReplica:
        return await self._stack.enter_async_context(StoreReplica(self.server, self._clock, **options))


def a_session(number: int = 1, *, owner: str = "shop", service: str = "") -> Session:
    services = (given.a_service(service, "ASR"),) if service else ()
    return Session(f"ses_{number}", f"room-{number}", User("alice"), START + number, services, owner=owner)


async def all_caught_up(*replicas: StoreReplica) -> None:
    for replica in replicas:
        await replica.changelog.caught_up()


async def counter(replica: StoreReplica, name: str) -> int:
    return int(await replica.connection.call("HGET", replica.connection.keys.counters, name) or 0)
