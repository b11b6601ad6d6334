"""The participant of a probe: it joins a room and gets an answer from the manager in it."""

from __future__ import annotations

from livekit import rtc

from manager_agent.livekit.room_connection import connect, disconnect
from manager_agent.messages import TOPIC, RpcFault


class RoomUnusable(Exception):
    """The SDK could not connect to the room, or the manager did not answer."""


class ProbeParticipant:
    def __init__(self, timeout: float) -> None:
        """`timeout`: seconds for each step."""
        self._room, self._timeout = rtc.Room(), timeout

    async def join(self, url: str, token: str) -> None:
        """Connect to the room of `token`. Raises RoomUnusable, TimeoutError."""
        try:
            await connect(self._room, url, token, rtc.RoomOptions(auto_subscribe=False), self._timeout)
        except rtc.ConnectError as error:
            raise RoomUnusable(repr(error)) from error

    async def get_answer(self, manager_identity: str) -> None:
        """Call the manager by RPC. It refuses a participant that was never invited: that refusal is the answer.

        Raises RoomUnusable."""
        try:
            await self._room.local_participant.perform_rpc(
                destination_identity=manager_identity,
                method=TOPIC,
                payload='{"type": "progress"}',
                response_timeout=self._timeout,
            )
        except rtc.RpcError as answer:
            if answer.code != RpcFault.UNKNOWN_CALLER:
                raise RoomUnusable(repr(answer)) from answer

    async def leave(self) -> None:
        await disconnect(self._room)
