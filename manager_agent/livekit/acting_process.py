"""Whether this process is the one of its deployment that acts (acting.py), as LiveKit's register has it.

LiveKit is asked by a thread of its own: a busy event loop would take so long for an answer that the process could never
act.
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

import structlog
from aiohttp import ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse
from yarl import URL

from manager_agent.acting_gate import ActingGate
from manager_agent.livekit.acting import INTERVAL, Acting, Turn
from manager_agent.livekit.turn_register import NoAnswer, TurnRegister
from manager_agent.not_acting import NotActing

log = structlog.get_logger()

INTERVAL_MIN = 0.05
"""Seconds between two polls while a caller waits for the outcome."""
SUPERSEDED_INTERVAL = 2.0
"""Seconds between two polls of a process that is superseded."""
PATIENCE = 8.0
"""The most seconds for which what needs to act is held while LiveKit, or this process, is slow. A call that fails ends
it earlier."""
SUPERSEDED = "another process of this deployment has taken over"


class ActingProcess:
    def __init__(self, register: TurnRegister) -> None:
        self.id, self.room_name = secrets.token_hex(8), register.room_name
        self._register, self._state = register, Acting(self.id)
        self._asked_at, self._failures, self._failure = math.inf, 0, "LiveKit was not asked yet"
        self._news, self._is_wanted = asyncio.Event(), asyncio.Event()
        self._superseded: list[Callable[[], None]] = []
        self._was_acting: bool | None = None
        """None: it has never acted, and not said so yet."""
        self._loop: asyncio.AbstractEventLoop | None = None
        """Of those who call this object."""
        self._asking: asyncio.AbstractEventLoop | None = None
        """Of the thread."""
        self._thread: threading.Thread | None = None

    @property
    def turn(self) -> str:
        """Its turn as text, which is greater than those of earlier processes. Empty until it has asked LiveKit."""
        return "" if self._state.turn is None else self._state.turn.text

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
        if time.monotonic() > self._asked_at + INTERVAL:
            return "LiveKit does not answer"
        return "another process of this deployment may still act" if self._state.waits_for else self._failure

    def when_superseded(self, listener: Callable[[], None]) -> None:
        """Call `listener` at the moment at which this process learns that it is superseded. It must not block."""
        self._superseded.append(listener)

    async def start(self, last_writer: str = "") -> None:
        """Begin to ask LiveKit, in the background. LiveKit does not have to be up yet. `last_writer`: the turn that the
        records have; the turn of this process will be greater."""
        self._state = replace(self._state, found=Turn.read(last_writer))
        self._loop, self._asking = asyncio.get_running_loop(), asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._asking.run_forever, name="acting process", daemon=True)
        self._thread.start()
        await _in_thread(self._asking, self._open())

    async def aclose(self) -> None:
        """Release the turn: the next process need not wait, and no older one acts again. Nothing may act any more."""
        asking, thread = self._asking, self._thread
        if asking is None or thread is None:
            return
        self._asking = self._thread = None
        await _in_thread(asking, self._close())
        asking.call_soon_threadsafe(asking.stop)
        await asyncio.to_thread(thread.join)
        asking.close()

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

    async def until_successor_stopped(self) -> None:
        """Return when this process is superseded, and the newer one has stopped. It may be never."""
        while not self._state.is_last_one_left:
            await self._news.wait()

    async def until_acting(self) -> None:
        """Return when this process may act. It may be never."""
        while not self.may_act:
            await self._news.wait()

    # In the thread, from here on.

    async def _open(self) -> None:
        await self._register.start()
        self._running = asyncio.create_task(self._run(), name="acting process")

    async def _close(self) -> None:
        self._running.cancel()
        await asyncio.wait([self._running])
        self._state = replace(self._state, confirmed_at=-math.inf)
        with suppress(NoAnswer, TimeoutError):
            await self._release()
        await self._register.aclose()

    async def _release(self) -> None:
        """Mark our turn as released, if the register has it. Raises NoAnswer, TimeoutError."""
        if (turn := self._state.turn) is None:
            return
        async with asyncio.timeout(turn.lease - INTERVAL):  # for two answers, however far away LiveKit is
            if await self._register.read() == turn:
                await self._register.write(self._state.released(time.monotonic()))

    async def _run(self) -> None:
        while True:
            try:
                await self._ask(self._register.read())
                if self._state.must_write:
                    await self._write()
            except NoAnswer as error:
                self._failed(str(error))
            except Exception:
                log.exception("acting_fault")
                self._failed("LiveKit could not be asked")
            self._log_change()
            self._call(self._tell)
            await self._pause()

    async def _ask(self, answer: Coroutine[Any, Any, Turn | None]) -> None:
        """Learn the turn that LiveKit has, from a call about to be made. Raises NoAnswer."""
        self._asked_at = asked_at = time.monotonic()
        try:
            found = await answer
        finally:
            self._asked_at = math.inf
        was_superseded = self.is_superseded
        self._state = self._state.polled(found, asked_at=asked_at, answered_at=time.monotonic(), wall_clock=time.time())
        self._failure = "LiveKit's answer came too late"
        if self.is_superseded and not was_superseded:
            log.warning("superseded", room=self.room_name)
            for listener in self._superseded:
                self._call(listener)

    async def _write(self) -> None:
        """Write our turn, unless the register has a later one. Raises NoAnswer."""
        turn = self._state.turn
        assert turn is not None, "it is taken before it must be written"
        await self._ask(self._register.make(turn))
        if self._state.must_write:
            await self._register.write(turn)
            await self._ask(self._register.read())

    async def _pause(self) -> None:
        """Until the next poll is due."""
        self._is_wanted.clear()
        await asyncio.sleep(INTERVAL_MIN)
        wait_end = self._state.acts_from - time.monotonic()
        interval = SUPERSEDED_INTERVAL if self.is_superseded else INTERVAL
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_end if 0 < wait_end < INTERVAL else interval - INTERVAL_MIN):
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

    def _call(self, listener: Callable[[], None]) -> None:
        """Call it in the callers' loop."""
        assert self._loop is not None, "start() first"
        self._loop.call_soon_threadsafe(listener)

    def _tell(self) -> None:
        """Wake the callers that wait."""
        news, self._news = self._news, asyncio.Event()
        news.set()


async def _in_thread(loop: asyncio.AbstractEventLoop, call: Coroutine[Any, Any, None]) -> None:
    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call, loop))


def acts_first(acting: ActingGate, only_asks: Callable[[URL], bool]) -> ClientMiddlewareType:
    """A middleware of a ClientSession: what changes anything is sent only while this process may act. Its requests
    raise NotActing."""

    async def gate(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        if not only_asks(request.url):
            await acting.require()
        return await handler(request)

    return gate
