"""Calls of LiveKit's server API: the connections, how long a call may take, and its errors.

What changes anything is sent only while this process is the one of its deployment that acts (acting_process.py).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

import aiohttp
import structlog
from livekit import api
from yarl import URL

from manager_agent.acting_gate import ActingGate
from manager_agent.livekit.acting_process import acts_first
from manager_agent.livekit.livekit_clock import LiveKitClock, signed_in_livekits_time
from manager_agent.livekit.rejection import UNKNOWN, why_rejected
from manager_agent.livekit.unsigned_api import UnsignedAPI
from manager_agent.not_acting import NotActing
from manager_agent.proxy_rule import proxy_rule
from manager_agent.resend import resend_when_closed, was_closed
from manager_agent.unreachable import why_unreachable

log = structlog.get_logger()

CALL_TIMEOUT = 10.0
"""Seconds for one call, with the connection that it may need. A far server takes seconds for TCP and TLS; one that
refuses is known at once."""
CHECK_TIMEOUT, CHECK_PAUSE = 5.0, 1.0
NO_NODE = "could not find object"
"""What LiveKit says, with status 500, if it does not know which node has a room."""
AWAY_PATIENCE = 0.2
"""Seconds that a caller waits for a check while LiveKit is known to be away."""
ANSWERED_LATELY = 0.25
"""Seconds for which a call that LiveKit has answered shows that it is there."""
CHECKED_ROOM = "-"
"""The name of no room: LiveKit looks up nothing more than necessary."""
RETRY_AFTER = 2.0


class LiveKitUnavailable(Exception):
    """LiveKit could not be reached or could not serve. Retry after `retry_after` seconds; None: that does not help."""

    retry_after: float | None = RETRY_AFTER


class LiveKitBusy(LiveKitUnavailable):
    """LiveKit is there and could not serve at the moment. It found no node, or the node did not answer in time."""


class LiveKitHungUp(LiveKitUnavailable):
    """The connection was closed without an answer, as an idle one may be. The call may have been carried out."""


class LiveKitRejects(LiveKitUnavailable):
    """LiveKit does not accept our API key, secret or clock: `why` says which. Waiting does not help."""

    retry_after = None

    def __init__(self, why: str) -> None:
        super().__init__(f"LiveKit rejects the session manager, so that retrying does not help: {why}")


class RoomMissing(LookupError):
    """LiveKit has no such room, or the room has no such participant."""


class RoomReplaced(RoomMissing):
    """Another room has the name of the session's room, which is gone."""


class LiveKitCalls:
    """The base of what calls LiveKit: `async with self._calling(): await self._livekit...`."""

    def __init__(
        self, url: str, api_key: str, api_secret: str, acting: ActingGate | None, livekit_clock: LiveKitClock
    ) -> None:
        """`acting`: None where no other process shares the deployment. `livekit_clock` learns LiveKit's time from its
        answers."""
        self.url, self.livekit_clock = url, livekit_clock
        self._key, self._secret, self._acting = api_key, api_secret, acting
        self.rejection: str | None = None
        """Why LiveKit rejected the last call, because of our key, secret or clock; None if it did not."""
        self._away: LiveKitUnavailable | None = None
        """How the last check failed; None once anything was answered."""
        self._answered_at = -math.inf
        """When LiveKit did what the latest call asked for, by the loop's clock; -inf: it did not."""
        self._checking: asyncio.Task[None] | None = None
        self._checked_at = -math.inf
        self._http: aiohttp.ClientSession | None = None
        self._api: UnsignedAPI | None = None

    async def start(self) -> None:
        gates = [] if self._acting is None else [acts_first(self._acting, _only_asks)]
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            proxy=proxy_rule().of(self.url),
            middlewares=[
                *gates,
                resend_when_closed(_only_asks),
                signed_in_livekits_time(self.livekit_clock, self._secret),
            ],
        )
        self._api = UnsignedAPI(self.url, self._key, self._http)

    async def aclose(self) -> None:
        if self._checking is not None:
            self._checking.cancel()
            await asyncio.wait([self._checking])
        if self._http is not None:
            await self._http.close()

    @property
    def is_away(self) -> bool:
        """Whether LiveKit did not answer the last check, and has answered nothing since."""
        return self._away is not None

    async def check(self) -> None:
        """Ask LiveKit for something small, one question at a time for all callers, unless it has answered anything
        ANSWERED_LATELY. While it is away they hardly wait: it is asked again in the background, but not within
        CHECK_PAUSE. Raises LiveKitUnavailable."""
        if asyncio.get_running_loop().time() < self._answered_at + ANSWERED_LATELY:
            return
        if self._checking is None or (self._checking.done() and not self._was_checked_lately):
            self._checking = asyncio.create_task(self._check(), name="check LiveKit")
        done, _ = await asyncio.wait([self._checking], timeout=AWAY_PATIENCE if self.is_away else None)
        for check in done:
            check.result()
        if self._away is not None:
            raise self._away.with_traceback(None)

    @property
    def _was_checked_lately(self) -> bool:
        return self.is_away and asyncio.get_running_loop().time() < self._checked_at + CHECK_PAUSE

    async def _check(self) -> None:
        try:
            async with self._calling(CHECK_TIMEOUT):
                await self._livekit.room.list_rooms(api.ListRoomsRequest(names=[CHECKED_ROOM]))
        except LiveKitUnavailable as error:
            self._away = error
        self._checked_at = asyncio.get_running_loop().time()

    @property
    def _livekit(self) -> UnsignedAPI:
        assert self._api is not None, "start() first"
        return self._api

    @asynccontextmanager
    async def _calling(self, timeout: float = CALL_TIMEOUT) -> AsyncIterator[None]:
        """Bound the duration of a call, and turn its errors into ours."""
        try:
            async with asyncio.timeout(timeout):  # livekit-api sets no timeout
                yield
            self.rejection = self._away = None
            self._answered_at = asyncio.get_running_loop().time()
        except api.ServerError as error:
            self._answered_at = -math.inf
            if error.status == HTTPStatus.UNAUTHORIZED:
                raise LiveKitRejects(await self._note_rejection()) from error
            self.rejection = self._away = None
            if error.code == "not_found":
                raise RoomMissing(str(error)) from error
            is_busy = error.status == HTTPStatus.SERVICE_UNAVAILABLE or error.message == NO_NODE
            kind = LiveKitBusy if is_busy else LiveKitUnavailable
            raise kind(f"LiveKit answered {error.code}: {error.message}") from error
        except NotActing as error:
            raise LiveKitUnavailable(str(error)) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            self._answered_at = -math.inf
            failure = LiveKitHungUp if was_closed(error) else LiveKitUnavailable
            raise failure(f"LiveKit can't be reached: {why_unreachable(error)}") from error

    async def _note_rejection(self) -> str:
        """Find out why LiveKit rejects us, and say so in the log when that is news."""
        assert self._http is not None, "start() first"
        why = UNKNOWN
        with suppress(aiohttp.ClientError, TimeoutError):
            async with asyncio.timeout(CALL_TIMEOUT):
                why = await why_rejected(self._http, self.url, self._key, self._secret) or UNKNOWN
        if why != self.rejection:
            log.error("livekit_rejects", why=why, hint="waiting does not help; `session-manager doctor` checks it")
        self.rejection = why
        return why


def _only_asks(url: URL) -> bool:
    """Whether a call changes nothing. One that does is made right after one that does not, on the same connection, or
    once more after such a one if the connection was closed."""
    return url.name.startswith("List")
