"""An orchestrator with stand-ins for LiveKit and the services, for tests."""

from __future__ import annotations

from typing import Any

from manager_agent.clock import Clock
from manager_agent.control.backends import TakeJob
from manager_agent.control.missed_rooms import MissedRooms
from manager_agent.control.orchestrator import Orchestrator
from manager_agent.control.standstill import Standstill
from manager_agent.livekit.join_slots import JoinsUnderWay, NewSessions
from manager_agent.livekit.server_api import Listing
from manager_agent.records.memory import MemoryRecords
from manager_agent.registry.registry import Registry
from manager_agent.session.identities import Identities
from manager_agent.session.session import Session
from manager_agent.store.memory import MemoryStore
from manager_agent.store.recording import Recording
from tests.always_acting import always_acting


class NoRooms:
    """Rooms that are created at once and stay empty."""

    async def create(self, session: Session, *, patience: float) -> str:
        return "RM_1"

    async def list_participants(self, room_name: str) -> Listing:
        return Listing((), ())

    async def is_answering(self, room_name: str) -> bool:
        return True

    async def has_room(self, session: Session) -> bool:
        return False

    async def has_participant(self, room_name: str, identity: str) -> bool:
        return False

    async def record_specification(self, session: Session) -> None: ...

    async def show_status(self, session: Session) -> None: ...

    async def delete(self, room_name: str, *, sid: str, session_id: str) -> None: ...


def orchestrator_of(
    store: MemoryStore,
    registry: Registry,
    rooms: Any,
    inviter: Any,
    clock: Clock,
    standstill: Standstill | None = None,
    take_job: TakeJob | None = None,
    new_sessions: NewSessions | None = None,
    joins: JoinsUnderWay | None = None,
) -> Orchestrator:
    """With records in memory; `rooms` and `inviter` are stand-ins. The process never stands still by default, and takes
    no jobs."""
    return Orchestrator(
        store=store,
        rooms=rooms,
        inviter=inviter,
        registry=registry,
        identities=Identities("secret"),
        missed_rooms=MissedRooms(),
        recording=Recording(store),
        records=MemoryRecords(clock),
        acting=always_acting(),
        standstill=standstill or Standstill(clock),
        clock=clock,
        take_job=take_job,
        new_sessions=new_sessions,
        joins=joins,
    )
