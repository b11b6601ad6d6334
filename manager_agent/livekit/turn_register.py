"""The register that has the turn of the process that acts (acting.py), in LiveKit.

It is the metadata of a room of the deployment's own, which is always empty. LiveKit keeps it until it restarts; then it
has to be made again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from livekit import api
from livekit.api.room_service import RoomService

from manager_agent.livekit.acting import Turn
from manager_agent.livekit.livekit_clock import LiveKitClock, signed_in_livekits_time
from manager_agent.livekit.unsigned_api import UnsignedAPI
from manager_agent.proxy_rule import proxy_rule
from manager_agent.unreachable import why_unreachable

TIMEOUT = aiohttp.ClientTimeout(total=10.0, sock_connect=3.0, sock_read=3.0)
"""Seconds for one call: a far server takes seconds for TLS. A connection or an answer that hangs is not waited for much
longer than an answer is of use to a process with the longest lease."""
KEPT = 10 * 365 * 86_400
"""Seconds for which LiveKit keeps the room without participants."""


class NoAnswer(Exception):
    """LiveKit did not answer, or refused. The message says why; it contains no address and no secret."""


class TurnRegister:
    def __init__(
        self, *, url: str, api_key: str, api_secret: str, deployment: str, livekit_clock: LiveKitClock
    ) -> None:
        self.room_name = f"session-manager.{deployment}"
        self._url, self._key = url, api_key
        self._signing = signed_in_livekits_time(livekit_clock, api_secret)
        self._http: aiohttp.ClientSession | None = None
        self._api: UnsignedAPI | None = None

    async def start(self) -> None:
        """Call it in the event loop in which the register is used."""
        self._http = aiohttp.ClientSession(
            proxy=proxy_rule().of(self._url), timeout=TIMEOUT, middlewares=[self._signing]
        )
        self._api = UnsignedAPI(self._url, self._key, self._http)

    async def aclose(self) -> None:
        if self._http is not None:
            await self._http.close()

    async def read(self) -> Turn | None:
        """The turn; None if there is none. Raises NoAnswer."""
        with _answered():
            listed = await self._livekit.list_rooms(api.ListRoomsRequest(names=[self.room_name]))
        return Turn.read(listed.rooms[0].metadata) if listed.rooms else None

    async def make(self, turn: Turn) -> Turn | None:
        """Make the room with this turn, or find it: LiveKit may have it without listing it. Returns the turn that it
        has now. Raises NoAnswer."""
        made = api.CreateRoomRequest(
            name=self.room_name, metadata=turn.text, empty_timeout=KEPT, departure_timeout=KEPT
        )
        with _answered():
            return Turn.read((await self._livekit.create_room(made)).metadata)

    async def write(self, turn: Turn) -> None:
        """Replace the turn in the room, which must exist. Raises NoAnswer."""
        replaced = api.UpdateRoomMetadataRequest(room=self.room_name, metadata=turn.text)
        with _answered():
            await self._livekit.update_room_metadata(replaced)

    @property
    def _livekit(self) -> RoomService:
        assert self._api is not None, "start() first"
        return self._api.room


@contextmanager
def _answered() -> Iterator[None]:
    try:
        yield
    except api.ServerError as error:
        raise NoAnswer(f"LiveKit answered {error.code}") from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise NoAnswer(f"LiveKit can't be reached: {why_unreachable(error)}") from error
