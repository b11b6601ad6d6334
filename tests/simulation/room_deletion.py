"""How replicas delete a room."""

from __future__ import annotations

from tests.simulation.protocol_rules import RULES
from tests.simulation.simulated_livekit import NoNode, SimulatedLiveKit


def delete_room(livekit: SimulatedLiveKit, name: str, sid: str) -> bool:
    """Always True: no error if it is gone. A room that no node has is taken up by one, and then deleted."""
    try:
        return livekit.delete(name, sid)
    except NoNode:
        if not RULES.takes_up_rooms:
            raise
        livekit.take_up(name)
        return livekit.delete(name, sid)
