"""A process that acts alone for its deployment: sessions in memory, records in STATE_DIR or in memory."""

from __future__ import annotations

from http_api.bootstrap.components import ComponentTypes, Foundation, Instruments
from http_api.settings.settings import Settings
from manager_agent.clock import SteadyClock
from manager_agent.livekit.livekit_clock import LiveKitClock
from manager_agent.livekit.turn_register import TurnRegister
from manager_agent.records.memory import MemoryRecords
from manager_agent.records.records import Records
from manager_agent.records.sqlite import SqliteRecords
from manager_agent.store.ended_sessions import EndedSessions
from manager_agent.store.memory import MemoryStore
from manager_agent.store.recording import Recording
from manager_agent.store.room_names import RoomNames


def one_process(
    settings: Settings, instruments: Instruments, types: ComponentTypes, records: Records | None = None
) -> Foundation:
    """`records`: those of another process, instead of the settings' own."""
    clock, livekit_clock = instruments.clock, instruments.livekit_clock
    records = records or records_of(settings, clock)
    names = RoomNames(records, livekit_clock, clock=clock, expect_livekit_ahead=livekit_clock.expect_ahead)
    ended = EndedSessions(per_caller=settings.sessions_kept_per_caller, in_all=settings.sessions_kept)
    store = MemoryStore(clock, instruments.metrics.store_updates.observe, names, ended)
    return Foundation(
        records=records,
        room_names=names,
        store=store,
        acting=types.acting(register_of(settings, livekit_clock)),
        recording=Recording(store),
    )


def records_of(settings: Settings, clock: SteadyClock) -> Records:
    """The records, not started."""
    if settings.state_dir is None:
        return MemoryRecords(clock)
    return SqliteRecords(settings.state_dir, clock, clock.origin)


def register_of(settings: Settings, livekit_clock: LiveKitClock) -> TurnRegister:
    """The register of the process that acts, not started."""
    return TurnRegister(
        url=settings.livekit_server_url,
        api_key=settings.livekit_api_key,
        api_secret=settings.livekit_api_secret.get_secret_value(),
        deployment=settings.deployment,
        livekit_clock=livekit_clock,
    )
