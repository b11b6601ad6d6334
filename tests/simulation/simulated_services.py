"""Simulated microservices: they answer invites, join, say that they are ready, crash, and leave at the end."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from manager_agent.session import events as ev
from manager_agent.session.events import Evidence, ParticipantInfo, ReadyOn, Refusal, Signal
from manager_agent.session.service_transitions import STATE_ATTRIBUTE
from manager_agent.session.session import Session

if TYPE_CHECKING:
    from tests.simulation.simulated_replica import SimulatedReplica
    from tests.simulation.world import World

TYPES = ("ASR", "LLM", "TTS")
DECLINES, CRASHES, NEVER_JOINS = 0.005, 0.01, 0.003
"""The chances of each invite, and of each service that was ready."""
SAYS_AGAIN = 1.0
"""Seconds after which a service says again what was not acknowledged."""
INVITE_TIMEOUT = 3.0


@dataclass(eq=False, slots=True)
class SimulatedInstance:
    """A registered service."""

    service_id: str
    type: str
    number: int
    capacity: int
    ready_on: ReadyOn
    endpoint: str
    down_until: float = -math.inf
    bots: dict[tuple[str, str], ServiceBot] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class ServiceBot:
    """What a service does in one room under one identity."""

    instance: SimulatedInstance
    session_id: str
    room_name: str
    identity: str
    info: ParticipantInfo | None = None
    is_acknowledged: bool = False
    is_over: bool = False


class SimulatedServices:
    def __init__(self, world: World, per_type: int, capacity: int) -> None:
        self._world, self._heap = world, world.heap
        self.instances = {
            one.service_id: one
            for nth in range(per_type)
            for kind in TYPES
            for one in [
                SimulatedInstance(
                    f"{kind.lower()}-{nth}",
                    kind,
                    nth,
                    capacity,
                    ReadyOn.SIGNAL if nth % 3 else ReadyOn.JOIN,
                    f"http://10.0.0.1:{nth}/{kind}",
                )
            ]
        }
        self._by_type: defaultdict[str, list[SimulatedInstance]] = defaultdict(list)
        for one in self.instances.values():
            self._by_type[one.type].append(one)
        self._bots_of: defaultdict[str, list[ServiceBot]] = defaultdict(list)
        self.troubled: set[str] = set()
        """The sessions that had a service which did not do its part."""

    @property
    def capacities(self) -> Mapping[str, int]:
        return {one.service_id: one.capacity for one in self.instances.values()}

    def capacities_of(self, service_id: str) -> int:
        return self.instances[service_id].capacity

    def chosen(self, kind: str, excluded: set[str], in_use: Counter[str]) -> SimulatedInstance | None:
        """The one of this type that is used least, if it has capacity left."""
        best, least = None, math.inf
        for one in self._by_type[kind]:
            used = in_use[one.service_id]
            if used < least and used < one.capacity and one.service_id not in excluded:
                best, least = one, used
        return best

    # --- invites ---

    def invite(
        self,
        replica: SimulatedReplica,
        session: Session,
        entry: int,
        answered: Callable[[Refusal | None], None],
    ) -> None:
        attempt = session.services[entry].current
        instance = self.instances[attempt.instance.service_id]
        chances = self._world.chances_of(session.session_id)

        def arrive() -> None:
            if self._heap.now < instance.down_until:
                self.troubled.add(session.session_id)
                replica.later(INVITE_TIMEOUT, answered, Refusal.UNREACHABLE)
                return
            if chances.random() < DECLINES:
                self.troubled.add(session.session_id)
                replica.later(0.005, answered, Refusal.DECLINED)
                return
            replica.later(0.005, answered, None)
            self._accept(instance, session, attempt.identity or "")

        self._heap.after(chances.uniform(0.002, 0.02), arrive)

    def _accept(self, instance: SimulatedInstance, session: Session, identity: str) -> None:
        key = (session.session_id, identity)
        if key in instance.bots:
            return  # it has the invite already
        bot = ServiceBot(instance, session.session_id, session.room_name, identity)
        instance.bots[key] = bot
        self._bots_of[session.session_id].append(bot)
        chances = self._world.chances_of(session.session_id)
        if chances.random() < NEVER_JOINS:
            self.troubled.add(session.session_id)
            return
        self._heap.after(chances.uniform(0.1, 0.8), self._join, bot)

    def _join(self, bot: ServiceBot) -> None:
        livekit = self._world.livekit
        room = livekit.rooms.get(bot.room_name)
        if bot.is_over or room is None or self._heap.now < bot.instance.down_until:
            return
        bot.info = livekit.join(room, bot.identity, when_gone=partial(self._gone, bot))
        chances = self._world.chances_of(bot.session_id)
        if bot.instance.ready_on is ReadyOn.JOIN:
            self._world.judge.said_ready(bot.session_id, bot.identity)
            bot.is_acknowledged = True
        self._heap.after(chances.uniform(0.05, 0.4), self._say_ready, bot)
        if chances.random() < CRASHES:
            self.troubled.add(bot.session_id)
            self._heap.after(chances.uniform(0.1, 30.0), self._crash, bot)

    def _gone(self, bot: ServiceBot) -> None:
        """It was removed, or its room is gone. It can be invited again under another identity."""
        bot.is_over = True

    def _crash(self, bot: ServiceBot) -> None:
        room = self._world.livekit.rooms.get(bot.room_name)
        if room is not None and bot.info is not None and not bot.is_over:
            self._world.livekit.leave(room, bot.identity, bot.info.sid)

    # --- signals ---

    def _say_ready(self, bot: ServiceBot) -> None:
        """By RPC to the manager; as an attribute by every third instance; by HTTP if no manager is there."""
        room = self._world.livekit.rooms.get(bot.room_name)
        if bot.is_over or bot.is_acknowledged or room is None or bot.info is None:
            return
        self._world.judge.said_ready(bot.session_id, bot.identity)
        acknowledge = partial(self._acknowledged, bot)
        managers = [one.manager for one in room.with_(bot.identity) if one.manager is not None]
        if bot.instance.number % 3 == 1:
            attributes = {STATE_ATTRIBUTE: Signal.READY.value}
            self._world.livekit.set_attributes(room, bot.identity, bot.info.sid, attributes)
        if managers:
            managers[0].signalled(bot.identity, Signal.READY, acknowledge)
        elif (replica := self._world.balanced()) is not None:
            event = ev.ServiceSignalled(self._heap.now, bot.identity, Signal.READY, Evidence.HTTP)
            replica.call(self._over_http, replica, bot, event, acknowledge)
        self._heap.after(SAYS_AGAIN, self._say_ready, bot)

    def _over_http(
        self, replica: SimulatedReplica, bot: ServiceBot, event: ev.Event, acknowledge: Callable[[], None]
    ) -> None:
        def recorded(stored: object, _: bool) -> None:
            session = getattr(stored, "session", None)
            if session is not None and session.has_applied(bot.identity, Signal.READY):
                acknowledge()

        replica.updates.update(bot.session_id, event, recorded, fence=None)

    def _acknowledged(self, bot: ServiceBot) -> None:
        bot.is_acknowledged = True

    def session_ended(self, session: Session) -> None:
        """All services of the session are told."""
        for bot in self._bots_of.pop(session.session_id, ()):
            bot.is_over = True
            bot.instance.bots.pop((bot.session_id, bot.identity), None)

    def go_down(self, number: int, until: float) -> None:
        """An instance of each type does not answer, and its participants leave."""
        for kind in TYPES:
            instances = self._by_type[kind]
            instance = instances[number % len(instances)]
            instance.down_until = until
            for bot in list(instance.bots.values()):
                self.troubled.add(bot.session_id)
                self._crash(bot)
