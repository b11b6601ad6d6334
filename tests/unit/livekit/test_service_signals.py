"""The data packets that a manager sends: one for each signal that took effect, to the service that sent it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from manager_agent.livekit.participant_budget import ParticipantBudget
from manager_agent.livekit.service_signals import ServiceSignals
from manager_agent.messages import TOPIC
from manager_agent.store.memory import MemoryStore
from tests.unit import sessions as given
from tests.unit.sessions import ASR, LLM, START

pytestmark = pytest.mark.unit

SERVICE = "sm-llm-1"


class AllRecorded:
    """Stands in for the wait until LiveKit has the record."""

    async def until_recorded(self, session_id: str) -> None: ...


class SentPackets:
    """Stands in for the SDK's room."""

    def __init__(self) -> None:
        self.local_participant = self
        self.remote_participants: dict[str, Any] = {}
        self.sent: list[tuple[str, list[str]]] = []

    async def publish_data(
        self, payload: bytes, *, reliable: bool, topic: str, destination_identities: list[str]
    ) -> None:
        self.sent.append((topic, destination_identities))


def a_packet(sender: str, data: bytes) -> Any:
    return SimpleNamespace(participant=SimpleNamespace(identity=sender), data=data, topic=TOPIC)


async def test_a_manager_sends_one_packet_for_each_signal_and_no_other() -> None:
    room = SentPackets()
    unused: Any = None
    store = MemoryStore(lambda: START)
    await store.add(given.a_session(given.JOINS, given.SIGNALS))
    services, seen = (ASR, LLM), given.seen(SERVICE, "PA_1", START)
    for event in (*given.managed(), *given.invited(*services), *given.accepted(*services), seen):
        await store.update("s1", event)
    signals = ServiceSignals(
        room,  # type: ignore[arg-type]
        session_id="s1",
        store=store,
        recording=AllRecorded(),  # type: ignore[arg-type]
        clock=lambda: START,
        budget=ParticipantBudget(),
        seen=unused,
    )
    ready = b'{"type": "ready", "invite_id": "inv_1"}'
    for packet in (
        a_packet(SERVICE, ready),
        a_packet(SERVICE, ready),  # it did not get the acknowledgement
        a_packet(SERVICE, b'{"type": "ready"}'),  # it wants none
        a_packet(SERVICE, b"{"),
        a_packet("alice", ready),
    ):
        await signals.on_data(packet)
    await signals._acknowledgements.aclose(grace=30)
    assert room.sent == [(TOPIC, [SERVICE])] * 2
