"""Whether this process is the one of its deployment that acts (acting.py), as LiveKit knows it.

The register is the metadata of a room of the deployment's own, which is always empty. LiveKit keeps it until it
restarts; a process that does not find it makes it again. It is asked by a thread of its own: a busy event loop would
take so long for an answer that the process could never act.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any

import aiohttp
import structlog
from aiohttp import ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse
from livekit import api
from livekit.api.room_service import RoomService
from yarl import URL

from manager_agent.livekit.acting import Acting, Turn
from manager_agent.livekit.livekit_clock import LiveKitClock, signed_in_livekits_time
from manager_agent.proxy_rule import proxy_rule
from manager_agent.store.store import NotActing
from manager_agent.unreachable import why_unreachable

log = structlog.get_logger()

INTERVAL, INTERVAL_MIN = 0.5, 0.05
"""Seconds between two polls; the shorter one while a caller waits for the outcome."""
TIMEOUT = aiohttp.ClientTimeout(total=10.0, sock_read=2.0)
"""Seconds for one call: as long as any other for the connection, not much longer than an answer is of use for that."""
PATIENCE = 8.0
"""The most seconds for which what needs to act is held while LiveKit, or this process, is slow. A call that fails ends
it earlier."""
RELEASE_TIMEOUT = 1.0
KEPT = 10 * 365 * 86_400
"""Seconds for which LiveKit keeps the room without participants."""
SUPERSEDED = "another process of this deployment has taken over"


class ActingProcess:
    def __init__(
        self, *, url: str, api_key: str, api_secret: str, deployment: str, livekit_clock: LiveKitClock
    ) -> None:
        self.room_name = f"session-manager.{deployment}"
        self.id = secrets.token_hex(8)
        self._url, self._key, self._secret = url, api_key, api_secret
        self._signing = signed_in_livekits_time(livekit_clock, api_secret)
        self._state = Acting(self.id)
        self._failures, self._failure = 0, "LiveKit was not asked yet"
        self._news, self._is_wanted = asyncio.Event(), asyncio.Event()
        self._superseded: list[Callable[[], None]] = []
        self._was_acting: bool | None = None
        """None: it has never acted, and not said so yet."""
        self._http: aiohttp.ClientSession | None = None
        self._api: api.LiveKitAPI | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        """Of those who call this object."""
        self._asking: asyncio.AbstractEventLoop | None = None
        """Of the thread."""
        self._thread: threading.Thread | None = None

    def worker_name(self, agent_name: str) -> str:
        """The agent name under which LiveKit offers jobs to this process only: one that is frozen would swallow those
        of the others."""
        return f"{agent_name}/{self.id}"

    @property
    def may_act(self) -> bool:
        """Whether this process may change rooms and sessions now."""
        return self._state.may_act(time.monotonic())

    @property
    def is_superseded(self) -> bool:
        """Whether a newer process has taken over. Never changes back."""
        return self._state.superseded_by is not None

    @property
    def why_not(self) -> str:
        """Why it may not act, when it may not. Contains no address and no secret."""
        if self.is_superseded:
            return SUPERSEDED
        return "another process of this deployment may still act" if self._state.waits else self._failure

    def when_superseded(self, listener: Callable[[], None]) -> None:
        """Call `listener` at the moment at which this process learns that it is superseded. It must not block."""
        self._superseded.append(listener)

    async def start(self) -> None:
        """Begin to ask LiveKit, in the background. LiveKit does not have to be up yet."""
        self._loop, self._asking = asyncio.get_running_loop(), asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._asking.run_forever, name="acting process", daemon=True)
        self._thread.start()
        await _in_thread(self._asking, self._open())

    async def aclose(self) -> None:
        """Leave the turn to the next process, which need not wait then. Nothing may act any more."""
        asking, thread = self._asking, self._thread
        if asking is None or thread is None:
            return
        self._asking = self._thread = None
        await _in_thread(asking, self._close())
        asking.call_soon_threadsafe(asking.stop)
        await asyncio.to_thread(thread.join)
        asking.close()

    async def _open(self) -> None:
        self._http = aiohttp.ClientSession(
            proxy=proxy_rule().of(self._url), timeout=TIMEOUT, middlewares=[self._signing]
        )
        self._api = api.LiveKitAPI(self._url, self._key, self._secret, session=self._http, failover=False)
        self._running = asyncio.create_task(self._run(), name="acting process")

    async def _close(self) -> None:
        assert self._http is not None
        self._running.cancel()
        await asyncio.wait([self._running])
        self._state = replace(self._state, confirmed_at=-math.inf)
        with suppress(aiohttp.ClientError, api.ServerError, TimeoutError):
            async with asyncio.timeout(RELEASE_TIMEOUT):
                await self._release()
        await self._http.close()

    async def held(self) -> bool:
        """Whether this process may act. Wait for it: until the next answer of LiveKit, or for the time that another
        process may still act."""
        failures = self._failures
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while not (self.may_act or self.is_superseded or self._failures != failures):
                    if self._asking is not None:
                        self._asking.call_soon_threadsafe(self._is_wanted.set)
                    await self._news.wait()
        return self.may_act

    async def require(self) -> None:
        """Return when this process may act. Raises NotActing."""
        if not self.may_act and not await self.held():
            raise NotActing(self.why_not)

    async def until_acting(self) -> None:
        """Return when this process may act. It may be never."""
        while not self.may_act:
            await self._news.wait()

    async def _run(self) -> None:
        while not self.is_superseded:
            try:
                await self._poll()
                if self._state.must_write:
                    await self._write()
            except api.ServerError as error:
                self._failed(f"LiveKit answered {error.code}")
            except (aiohttp.ClientError, TimeoutError) as error:
                self._failed(f"LiveKit can't be reached: {why_unreachable(error)}")
            except Exception:
                log.exception("acting_fault")
                self._failed("LiveKit could not be asked")
            self._log_change()
            self._call(self._tell)
            await self._pause()

    def _call(self, listener: Callable[[], None]) -> None:
        """Call it from the callers' loop."""
        assert self._loop is not None, "start() first"
        self._loop.call_soon_threadsafe(listener)

    async def _poll(self) -> None:
        asked_at = time.monotonic()
        self._learn(await self._read(), asked_at)

    def _learn(self, found: Turn | None, asked_at: float) -> None:
        """LiveKit was asked at this instant, and has answered just now."""
        self._state = self._state.polled(found, asked_at=asked_at, answered_at=time.monotonic(), wall_clock=time.time())
        self._failure = "LiveKit's answer came too late"
        if self.is_superseded:
            log.warning("superseded", room=self.room_name)
            for listener in self._superseded:
                self._call(listener)

    async def _pause(self) -> None:
        """Until the next poll is due."""
        await asyncio.sleep(INTERVAL_MIN)
        wait_end = self._state.acts_from - time.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_end if 0 < wait_end < INTERVAL else INTERVAL - INTERVAL_MIN):
                self._is_wanted.clear()
                await self._is_wanted.wait()

    def _failed(self, why: str) -> None:
        self._failures += 1
        self._failure = why

    def _log_change(self) -> None:
        is_beginning = self._was_acting is None and not self.may_act and self._failures == 0
        if self.may_act == self._was_acting or self.is_superseded or is_beginning:
            return
        self._was_acting = self.may_act
        if self._was_acting:
            log.info("acting", process=self.id)
        else:
            log.warning("not_acting", why=self.why_not)

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _read(self) -> Turn | None:
        """Raises aiohttp.ClientError, api.ServerError, TimeoutError."""
        listed = await self._livekit.list_rooms(api.ListRoomsRequest(names=[self.room_name]))
        return Turn.read(listed.rooms[0].metadata) if listed.rooms else None

    async def _write(self) -> None:
        """Make the room, or find it, and write our turn unless it has a later one. Raises aiohttp.ClientError,
        api.ServerError, TimeoutError."""
        turn, asked_at = self._state.turn, time.monotonic()
        assert turn is not None, "the first answer gave us a turn"
        made = await self._livekit.create_room(
            api.CreateRoomRequest(name=self.room_name, metadata=turn.text, empty_timeout=KEPT, departure_timeout=KEPT)
        )
        self._learn(Turn.read(made.metadata), asked_at)  # it may have been there, though LiveKit did not list it
        if self._state.must_write:
            await self._put(turn.text)
            await self._poll()

    async def _put(self, text: str) -> None:
        """Raises aiohttp.ClientError, api.ServerError, TimeoutError."""
        await self._livekit.update_room_metadata(api.UpdateRoomMetadataRequest(room=self.room_name, metadata=text))

    async def _release(self) -> None:
        turn = self._state.turn
        if turn is not None and not self.is_superseded and await self._read() == turn:
            await self._put("")

    @property
    def _livekit(self) -> RoomService:
        assert self._api is not None, "start() first"
        return self._api.room


async def _in_thread(loop: asyncio.AbstractEventLoop, call: Coroutine[Any, Any, None]) -> None:
    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call, loop))


def acts_first(acting: ActingProcess, only_asks: Callable[[URL], bool]) -> ClientMiddlewareType:
    """A middleware of a ClientSession: what changes anything is sent only while this process may act. Its requests
    raise NotActing."""

    async def gate(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        if not only_asks(request.url):
            await acting.require()
        return await handler(request)

    return gate
