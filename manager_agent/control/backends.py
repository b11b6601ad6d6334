"""What the control loops of a process work with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from manager_agent.acting_gate import ActingGate
from manager_agent.clock import Clock
from manager_agent.control.missed_rooms import MissedRooms
from manager_agent.control.replacement import Replacer
from manager_agent.control.room_deletions import RoomDeletions
from manager_agent.control.standstill import Standstill
from manager_agent.livekit.join_slots import JoinsUnderWay, NewSessions
from manager_agent.livekit.server_api import Rooms
from manager_agent.outbound.invites import Inviter
from manager_agent.records.records import Records
from manager_agent.registry.registry import Registry
from manager_agent.session.identities import Identities
from manager_agent.session.session import Session
from manager_agent.store.recording import Recording
from manager_agent.store.store import Store
from manager_agent.tasks import Tasks

TakeJob = Callable[[Session], Awaitable[None]]
"""Takes the job of the session's manager, which was just dispatched, before LiveKit offers it."""


@dataclass(frozen=True, slots=True)
class Backends:
    """What a control loop works with. All of a process share it, except `store`, `io` and `writers`."""

    store: Store
    rooms: Rooms
    inviter: Inviter
    registry: Registry
    replacer: Replacer
    identities: Identities
    missed_rooms: MissedRooms
    recording: Recording
    records: Records
    io: Tasks
    """Carry out actions, and what goes on after them, such as the messages about the end of the session."""
    writers: Tasks
    """Write the record of the room."""
    deletions: RoomDeletions
    acting: ActingGate
    standstill: Standstill
    clock: Clock
    take_job: TakeJob | None
    """None: LiveKit's offer is awaited."""
    new_sessions: NewSessions
    joins: JoinsUnderWay
