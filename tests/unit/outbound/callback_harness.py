"""Callbacks of a store, without network: receivers that answer as the test says, in virtual time."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from manager_agent.frozen import replace
from manager_agent.outbound.address_policy import LOOPBACK, AddressPolicy
from manager_agent.outbound.callbacks import Callbacks
from manager_agent.outbound.deliveries import Delivery
from manager_agent.outbound.delivery_tries import DeliveryTries
from manager_agent.outbound.http_client import DeliveryFailed, GuardedHttpClient
from manager_agent.records.memory import MemoryRecords
from manager_agent.records.records import Records
from manager_agent.session import events as ev
from manager_agent.session.events import Event
from manager_agent.session.session import Session
from manager_agent.store.memory import MemoryStore
from manager_agent.store.recording import Recording
from tests.unit import sessions as given
from tests.unit.sessions import START
from tests.unit.virtual_time import let_pass, now
from tests.unit.waits import never

URL = "https://shop.example/sessions?word=a-word"
READY: list[Event] = [*given.managed(), *given.invited(0), given.seen("sm-asr-1", "PA_1", START)]
ACTIVE, READY_AGAIN = given.seen("alice", "PA_2", START), given.left("alice", "PA_2", START)
CLOSED = ev.SessionClosed(START)


@dataclass(frozen=True)
class Sent:
    """One delivery attempt, as the receiver sees it."""

    at: float
    id: str
    event: str
    session_id: str
    body: bytes
    address: str


Answer = Callable[[Sent], Awaitable[int]]


class FakeHttpClient(GuardedHttpClient):
    """Sends nothing. Answers in place of the receivers."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(AddressPolicy(LOOPBACK, 1, lambda _: True))
        self.sent: list[Sent] = []
        self.under_way = self.under_way_most = 0
        self._answer = answer

    async def start(self) -> None: ...

    async def aclose(self) -> None: ...

    async def deliver(self, address: str, body: bytes, headers: Mapping[str, str], *, owner: str = "") -> int:
        content = json.loads(body)
        sent = Sent(now(), content["id"], content["event"], content["session"]["session_id"], body, address)
        self.sent.append(sent)
        self.under_way += 1
        self.under_way_most = max(self.under_way_most, self.under_way)
        try:
            return await self._answer(sent)
        finally:
            self.under_way -= 1


class CallbackHarness:
    """The callbacks of a store, and receivers that answer as the test says."""

    def __init__(
        self,
        answer: Answer,
        *,
        view: Callable[[Session], dict[str, Any]] = lambda session: {"session_id": session.session_id},
        signing_keys: Callable[[str], tuple[str, str]] = lambda owner: (owner, "f" * 64),
        records: Records | None = None,
        recovered: Callable[[], Awaitable[None]] = never,
    ) -> None:
        """`records`: those of an earlier process. `recovered`: returns once all its sessions are known."""
        self.store, self.http_client = MemoryStore(now), FakeHttpClient(answer)
        self.recording = Recording(self.store)
        self.callbacks = Callbacks(
            tries=DeliveryTries(self.http_client, signing_keys, clock=now, livekit_clock=time.time),
            recording=self.recording,
            records=records or MemoryRecords(now),
            recovered=recovered,
            clock=now,
            view=view,
        )
        self.store.listen(self.callbacks.tell)

    async def update(self, session_id: str, *events: Event) -> None:
        for event in events:
            await self.store.update(session_id, event)

    async def open(self, session_id: str, *events: Event, owner: str = "shop", url: str | None = URL) -> None:
        room = f"room-{session_id}"
        session = given.a_session(given.JOINS)
        await self.store.add(replace(session, session_id=session_id, room_name=room, owner=owner, callback_url=url))
        await self.update(session_id, *events)

    def sent_events(self, session_id: str = "s1") -> list[str]:
        """The events that this session's receiver was sent, one for each try."""
        return [sent.event for sent in self.http_client.sent if sent.session_id == session_id]

    def outcomes(self) -> list[tuple[str, str]]:
        """Event and state of each delivery, oldest first."""
        return [(delivery.event, delivery.state) for delivery in self.deliveries()]

    def deliveries(self) -> list[Delivery]:
        """Oldest first."""
        return self.callbacks.delivery_log.latest(lambda _: True)[::-1]


async def accepts(_: Sent) -> int:
    return 200


async def hangs(_: Sent) -> int:
    await let_pass(5)
    raise DeliveryFailed("TimeoutError")
