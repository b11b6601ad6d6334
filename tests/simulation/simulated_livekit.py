"""A simulated LiveKit: rooms on several nodes, participants, dispatch, webhooks that get lost, and lists that lag.

A call is carried out when it arrives; livekit calls of replicas travel in simulated_replica.py.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from manager_agent.session.events import ParticipantInfo, Signal
from manager_agent.session.session import Session
from tests.simulation.event_heap import EventHeap

LIVEKIT_NODES = 3
WEBHOOK_LOST, WEBHOOK_DOUBLED, WEBHOOK_LATE = 0.01, 0.01, 0.02
"""The chances of each webhook."""
DISPATCH_TAKES = 0.25
"""Seconds from a dispatch to the offer of its job: LiveKit waits for bids of other nodes."""
STORED_AGAIN, STORED_AGAIN_AFTER = 0.5, 10.0
"""The share of the deleted rooms that were at two nodes and come back without a node, and the most seconds until then:
until the last participant has left at the other node."""
TAKEN_UP = 0.3
"""The chance of each participant that joins a room meanwhile to be taken to another node, as all later ones are."""
SILENT, SILENT_FOR = 0.3, 150.0
"""The share of the rooms of a killed node that stay listed, and the seconds until LiveKit does not know them either."""


class LiveKitAway(Exception):
    """LiveKit did not answer."""


class SilentNode(LiveKitAway):
    """The node that has the room did not answer."""


class NoNode(LiveKitAway):
    """No node has the room, which is listed."""


class NoRoom(Exception):
    """LiveKit has no such room."""


class ManagerWatch(Protocol):
    """A manager in a room, as LiveKit reaches it."""

    identity: str

    def participant_seen(self, participant: ParticipantInfo) -> None: ...

    def participant_left(self, participant: ParticipantInfo) -> None: ...

    def signalled(self, identity: str, signal: Signal, acknowledge: Callable[[], None]) -> None: ...

    def disconnected(self) -> None:
        """It was removed, or the room is gone."""


@dataclass(eq=False, slots=True)
class InRoom:
    """One participant's stay."""

    info: ParticipantInfo
    node: int
    manager: ManagerWatch | None = None
    when_gone: Callable[[], None] | None = None


@dataclass(eq=False, slots=True)
class SimulatedRoom:
    name: str
    sid: str
    node: int
    """To which the next participant comes."""
    created_at: float
    specified: Session
    """The session that the latest dispatch of a manager describes."""
    chances: random.Random
    recorded: Session | None = None
    """The session that the metadata describes."""
    dispatches: int = 0
    participants: dict[str, InRoom] = field(default_factory=dict)
    left_lately: list[tuple[float, ParticipantInfo]] = field(default_factory=list)

    @property
    def managers(self) -> Iterable[ManagerWatch]:
        return [one.manager for one in self.participants.values() if one.manager is not None]

    def node_of(self, identity: str) -> int | None:
        """None: this participant is not in the room."""
        found = self.participants.get(identity)
        return None if found is None else found.node

    def with_(self, identity: str) -> Sequence[InRoom]:
        """This participant and all at the same node, who see and hear each other."""
        node = self.node_of(identity)
        return [one for one in self.participants.values() if one.node == node]


WebhookReceiver = Callable[[SimulatedRoom, str, ParticipantInfo | None, random.Random], None]
JobOffer = Callable[[str, SimulatedRoom], None]


class SimulatedLiveKit:
    def __init__(self, heap: EventHeap, receive: WebhookReceiver, offer: JobOffer, digest: Callable[..., None]) -> None:
        """`receive`: takes each webhook that arrives; `offer`: offers a job to the worker of a name."""
        self._heap, self._receive, self._offer, self._digest = heap, receive, offer, digest
        self.rooms: dict[str, SimulatedRoom] = {}
        self.silent: dict[str, SimulatedRoom] = {}
        """The rooms of killed nodes, which lists still have."""
        self.nodeless: dict[str, SimulatedRoom] = {}
        """Deleted rooms that were stored again, which lists have too."""
        self.apart_until = -1.0
        """Until when the nodes don't hear of each other."""
        self.away_until = self.webhooks_lost_until = self.lists_lag_until = -1.0
        self._made = 0

    # --- the server API ---

    def create(self, session: Session, worker: str, chances: random.Random) -> SimulatedRoom:
        """The room of that name, made now unless it exists, and then with a dispatch of a manager. If its node is dead,
        another one has it from now on."""
        self._require()
        if (room := self.rooms.get(session.room_name)) is not None:
            return room
        if (moved := self.take_up(session.room_name)) is not None:
            return moved
        node = self._next_node()
        room = SimulatedRoom(session.room_name, f"RM_{self._made}", node, self._heap.now, session, chances)
        self.rooms[room.name] = room
        self._dispatch(room, session, worker)
        return room

    def take_up(self, name: str) -> SimulatedRoom | None:
        """Let a live node have a room that is listed and has none. None: there is no such room."""
        self._require()
        room = self.silent.pop(name, None) or self.nodeless.pop(name, None)
        if room is not None:
            room.node, room.participants = self._next_node(), {}
            self.rooms[name] = room
        return room

    def _next_node(self) -> int:
        self._made += 1
        return self._made % LIVEKIT_NODES

    def dispatch(self, name: str, session: Session, worker: str) -> SimulatedRoom:
        self._require()
        if name in self.silent:
            raise SilentNode
        room = self._room(name)
        self._dispatch(room, session, worker)
        return room

    def record(self, name: str, sid: str, session: Session) -> None:
        """Write the metadata of the room."""
        room = self._room(name)
        if room.sid == sid:
            room.recorded = session

    def delete(self, name: str, sid: str) -> bool:
        """Always True: no error if it is gone."""
        self._require()
        self.silent.pop(name, None)
        if name in self.nodeless:
            raise NoNode
        room = self.rooms.get(name)
        if room is not None and sid in ("", room.sid):
            is_at_two = len({one.node for one in room.participants.values()}) > 1
            self._close(room)
            self._webhook(room, "room_finished", None)
            if is_at_two and room.chances.random() < STORED_AGAIN:
                self._heap.after(room.chances.uniform(0.5, STORED_AGAIN_AFTER), self._store_again, room)
        return True

    def _store_again(self, room: SimulatedRoom) -> None:
        if room.name not in self.rooms:
            self.nodeless[room.name] = room

    def remove(self, name: str, identity: str, sid: str) -> bool:
        """Always True: no error if it is gone."""
        room = self._room(name)
        found = room.participants.get(identity)
        if found is not None and found.info.sid == sid:
            self.leave(room, identity, sid)
        return True

    def participants(self, name: str) -> tuple[tuple[ParticipantInfo, ...], bool]:
        """Those listed, and whether the room's node does not answer."""
        self._require()
        if (silent := self.silent.get(name)) is not None and name not in self.rooms:
            return tuple(one.info for one in silent.participants.values()), True
        room = self._room(name)
        listed = [one.info for one in room.participants.values()]
        if self._heap.now < self.lists_lag_until:
            since = self._heap.now - 1.0
            listed = [info for info in listed if info.joined_ms / 1000 <= since]
            gone = [info for at, info in room.left_lately if at > since]
            listed += [info for info in gone if info.identity not in room.participants]
        return tuple(listed), False

    def listed_rooms(self) -> list[SimulatedRoom]:
        self._require()
        lags = self._heap.now < self.lists_lag_until
        rooms = [room for room in self.rooms.values() if not lags or room.created_at <= self._heap.now - 1.0]
        nowhere = {**self.silent, **self.nodeless}
        return [*rooms, *(room for name, room in nowhere.items() if name not in self.rooms)]

    def has_participant(self, name: str, identity: str) -> bool:
        self._require()
        room = self.rooms.get(name)
        return room is not None and identity in room.participants

    def has_room(self, name: str, sid: str) -> bool:
        self._require()
        room = self.rooms.get(name)
        return room is not None and room.sid == sid

    def _require(self) -> None:
        if self._heap.now < self.away_until:
            raise LiveKitAway

    def _room(self, name: str) -> SimulatedRoom:
        self._require()
        room = self.rooms.get(name)
        if room is None:
            raise NoRoom
        return room

    def _dispatch(self, room: SimulatedRoom, session: Session, worker: str) -> None:
        room.dispatches += 1
        room.specified = session
        self._heap.after(DISPATCH_TAKES, self._offer_job, room, worker)

    def _offer_job(self, room: SimulatedRoom, worker: str) -> None:
        if self.rooms.get(room.name) is room and self._heap.now >= self.away_until:
            self._offer(worker, room)

    # --- participants ---

    def join(
        self,
        room: SimulatedRoom,
        identity: str,
        *,
        is_agent: bool = False,
        attributes: dict[str, str] | None = None,
        manager: ManagerWatch | None = None,
        when_gone: Callable[[], None] | None = None,
    ) -> ParticipantInfo | None:
        """None if the room is gone."""
        if self.rooms.get(room.name) is not room:
            return None
        if (earlier := room.participants.get(identity)) is not None:
            self.leave(room, identity, earlier.info.sid)
        if self._heap.now < self.apart_until and room.participants and room.chances.random() < TAKEN_UP:
            room.node = self._next_node()
        self._made += 1
        info = ParticipantInfo(identity, f"PA_{self._made}", round(self._heap.now * 1000), is_agent, attributes or {})
        room.participants[identity] = one = InRoom(info, room.node, manager, when_gone)
        self._digest("join", room.name, identity, room.node)
        self._webhook(room, "participant_joined", info)
        self._tell_managers(room, one, joined=True)
        return info

    def set_attributes(self, room: SimulatedRoom, identity: str, sid: str, attributes: dict[str, str]) -> None:
        found = room.participants.get(identity)
        if found is None or found.info.sid != sid:
            return
        old = found.info
        found.info = ParticipantInfo(identity, sid, old.joined_ms, old.is_agent, {**old.attributes, **attributes})
        self._tell_managers(room, found, joined=True, at_once=True)

    def leave(self, room: SimulatedRoom, identity: str, sid: str) -> None:
        found = room.participants.get(identity)
        if found is None or found.info.sid != sid:
            return
        del room.participants[identity]
        room.left_lately = [*room.left_lately[-4:], (self._heap.now, found.info)]
        self._digest("leave", room.name, identity)
        self._gone(found)
        if self.rooms.get(room.name) is room:
            self._webhook(room, "participant_left", found.info)
            self._tell_managers(room, found, joined=False)

    @staticmethod
    def _gone(one: InRoom) -> None:
        if one.manager is not None:
            one.manager.disconnected()
        if one.when_gone is not None:
            one.when_gone()

    def _tell_managers(self, room: SimulatedRoom, one: InRoom, *, joined: bool, at_once: bool = False) -> None:
        """The SDK's room events: LiveKit sends them every two to three seconds, changed attributes at once."""
        delay = room.chances.uniform(0.02, 0.06) if at_once else room.chances.uniform(0.5, 2.5)
        for other in room.participants.values():
            if (
                (manager := other.manager) is not None
                and other.node == one.node
                and other.info.identity != one.info.identity
            ):
                self._heap.after(delay, manager.participant_seen if joined else manager.participant_left, one.info)

    def _webhook(self, room: SimulatedRoom, event: str, info: ParticipantInfo | None) -> None:
        chances, now = room.chances, self._heap.now
        if now < self.webhooks_lost_until or chances.random() < WEBHOOK_LOST:
            return
        for _ in range(2 if chances.random() < WEBHOOK_DOUBLED else 1):
            late = chances.uniform(1.0, 8.0) if chances.random() < WEBHOOK_LATE else 0.0
            self._heap.after(chances.uniform(0.003, 0.03) + late, self._receive, room, event, info, chances)

    # --- ends of rooms ---

    def _close(self, room: SimulatedRoom) -> None:
        del self.rooms[room.name]
        self._digest("room closed", room.name)
        for one in room.participants.values():
            self._gone(one)
        room.participants = {}

    def kill_node(self, node: int) -> None:
        """Its rooms are gone, without a word. Lists have them for a while."""
        for room in [room for room in self.rooms.values() if room.node == node % LIVEKIT_NODES]:
            shown = dict(room.participants)
            self._close(room)
            if room.chances.random() < SILENT:
                room.participants = {name: InRoom(one.info, one.node) for name, one in shown.items()}
                self.silent[room.name] = room
                self._heap.after(SILENT_FOR, self._forget, room)

    def _forget(self, room: SimulatedRoom) -> None:
        if self.silent.get(room.name) is room:
            del self.silent[room.name]
