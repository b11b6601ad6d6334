"""Watches the rooms of a livekit-server from outside."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

import aiohttp
from livekit import api

from manager_agent.messages import RoomStatus
from manager_agent.session.session import OUR_IDENTITIES
from tests.chaos.ledger import Ledger, Violation

INTERVAL = 0.25
OVERLAP = 2.0
"""Seconds for which LiveKit may list two managers of a room."""


class OutsideWatch:
    def __init__(self, livekit: api.LiveKitAPI, ledger: Ledger, *, overlap: float = OVERLAP) -> None:
        self._livekit, self._ledger, self._overlap = livekit, ledger, overlap
        self._double_since: dict[str, float] = {}
        self._seen_at: dict[str, float] = {}
        """When a manager was in the room last."""
        self.longest_without = 0.0
        """The most seconds from one look at a room with a manager to the next one with a manager."""

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._run(), name="room watch")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.cancel()
        await asyncio.wait([self._running])

    @property
    def violations(self) -> Sequence[Violation]:
        return self._ledger.violations

    def is_watching(self) -> None:
        """Raises the error that has ended the watch, if one has."""
        if self._running.done():
            self._running.result()

    async def sessions(self) -> dict[str, RoomStatus]:
        """The status of each room of ours, by session id."""
        rooms = (await self._livekit.room.list_rooms(api.ListRoomsRequest())).rooms
        statuses = [status for room in rooms if (status := RoomStatus.read(room.metadata)) is not None]
        return {status.session_id: status for status in statuses}

    async def managers(self, room_name: str) -> list[str]:
        """The identities of the managers in a room."""
        try:
            listing = await self._livekit.room.list_participants(api.ListParticipantsRequest(room=room_name))
        except api.TwirpError:
            return []  # the room is gone
        active = (one for one in listing.participants if one.state == api.ParticipantInfo.ACTIVE)
        return [one.identity for one in active if one.identity.startswith(f"{OUR_IDENTITIES}manager-")]

    async def _is_there(self, room_name: str, identity: str) -> bool:
        """Whether a node has the participant: one of a node that was killed stays listed."""
        try:
            nothing = api.UpdateSubscriptionsRequest(room=room_name, identity=identity)
            await self._livekit.room.update_subscriptions(nothing)
        except api.TwirpError:
            return False
        return True

    async def _run(self) -> None:
        while True:
            with suppress(aiohttp.ClientError, TimeoutError, api.TwirpError):  # LiveKit restarts
                rooms = (await self._livekit.room.list_rooms(api.ListRoomsRequest())).rooms
                for room in rooms:
                    await self._look_at(room.name)
            await asyncio.sleep(INTERVAL)

    async def _look_at(self, room_name: str) -> None:
        managers, now = await self.managers(room_name), time.monotonic()
        if managers:
            self.longest_without = max(self.longest_without, now - self._seen_at.get(room_name, now))
            self._seen_at[room_name] = now
        if len(managers) < 2:
            self._double_since.pop(room_name, None)
            return
        since = self._double_since.setdefault(room_name, now)
        if now - since > self._overlap:
            managers = [one for one in managers if await self._is_there(room_name, one)]
            if len(managers) < 2:
                return
            self._ledger.breaks("one manager per room", f"{room_name} has had {sorted(managers)} for {self._overlap} s")
            self._double_since[room_name] = float("inf")
