"""One visit of a service to a room, as the service's own code sees it:

    invited --- join() ---> in the room --- say_ready() ---> ready

and over as soon as the manager says so, the room is gone, or the handler has returned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog
from livekit import rtc

from manager_agent.livekit.room_connection import connect
from manager_agent.messages import DETAIL_MAX, Invite, ServiceMessage, Signal
from manager_agent.traceparent import read_trace
from service_kit.signals import SignalSender

LEAVE_TIMEOUT = 5.0


class Decline(Exception):
    """Raised before join(): not this time. The manager asks another instance, or this one again later."""


class SessionJobEnded(Exception):
    """There is nobody left to say it to: the session is over, or the room is gone."""


class SessionJob:
    """What a handler is given. `invite` says what for; `room` is an `rtc.Room`, not connected yet, so that
    listeners can be put on it before it has anything to tell."""

    def __init__(self, invite: Invite, *, join_timeout: float) -> None:
        self.invite = invite
        self._trace = read_trace(invite.traceparent or "", invite.tracestate or "")
        self.log = structlog.get_logger().bind(
            session_id=invite.session.session_id,
            room=invite.session.room_name,
            service_id=invite.service_id,
            attempt=invite.attempt,
            **({"trace_id": self._trace.trace_id} if self._trace else {}),
        )
        self.room = rtc.Room()
        loop = asyncio.get_running_loop()
        self.accepted: asyncio.Future[None] = loop.create_future()
        self.over: asyncio.Future[str] = loop.create_future()
        self.broken: asyncio.Future[BaseException] = loop.create_future()
        self._started: set[asyncio.Task[None]] = set()
        self._join_timeout = join_timeout
        self._signals = SignalSender(self.room, invite.manager_identity, self.log)
        self.room.on("disconnected", self._on_disconnected)

    def __repr__(self) -> str:
        state = "over" if self.over.done() else "in the room" if self.room.isconnected() else "invited"
        return f"<SessionJob {self.invite.service_id} to {self.invite.session.room_name} [{state}]>"

    @property
    def trace_headers(self) -> dict[str, str]:
        """The place in a trace that this visit has (W3C Trace Context), as OpenTelemetry's `propagate.extract` takes
        it; empty if nobody traces the session."""
        return self._trace.headers if self._trace else {}

    async def join(self, options: rtc.RoomOptions | None = None) -> rtc.Room:
        """Accepts the invite and joins the room. Raises SessionJobEnded, TimeoutError, rtc.ConnectError."""
        self.accept()
        token = self.invite.token or ""
        await connect(self.room, self.invite.server_url, token, options or rtc.RoomOptions(), self._join_timeout)
        if self.over.done():
            raise SessionJobEnded(self.over.result())
        self.log.info("joined", identity=self.invite.identity)
        self._signals.read(self.room.metadata)
        self.room.on("room_metadata_changed", self._on_metadata_changed)
        # Whoever comes back with a new sid is somebody new to the manager, and the SDK does not tell which it was.
        self.room.on("reconnected", self._signals.say_again)
        return self.room

    async def say_ready(self, detail: str | None = None) -> None:
        """Returns when the manager has heard it; a manager that comes later is told by itself.

        Raises SessionJobEnded.
        """
        await self._say(Signal.READY, detail)

    async def say_failed(self, detail: str | None = None) -> None:
        """Tells the manager that this service is of no use here (any more). As say_ready."""
        await self._say(Signal.FAILED, detail)

    def say_progress(self, detail: str) -> None:
        """Tells the manager how far it is. Nothing depends on it, so it is said once, and not waited for."""
        self.start(self._signals.mention(_message(Signal.PROGRESS, detail)))

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs `work` beside the handler, until the visit is over: for the room's callbacks, which can't await.

        When it raises, that is as if the handler had.
        """
        task = asyncio.create_task(work)
        self._started.add(task)
        task.add_done_callback(self._on_task_done)

    async def ended(self) -> str:
        """Waits until the visit is over, and says why: the session's reason, or that of leaving the room."""
        return await asyncio.shield(self.over)

    def accept(self) -> None:
        """Settles that this invite is not declined any more; join() does it. Again changes nothing."""
        if not self.accepted.done():
            self.accepted.set_result(None)

    def end(self, reason: str) -> None:
        """Lets the visit be over; the handler has a little time left then. Again changes nothing."""
        if not self.over.done():
            self.log.info("visit_over", reason=reason)
            self.over.set_result(reason)

    async def leave(self) -> None:
        """Stops what was started and leaves the room. Never raises, and takes LEAVE_TIMEOUT at the most."""
        self.end("left")
        self._signals.hush()
        for task in self._started:
            task.cancel()
        try:
            async with asyncio.timeout(LEAVE_TIMEOUT):
                await self.room.disconnect()
        except Exception as error:
            self.log.warning("not_left_in_order", why=repr(error))

    async def _say(self, signal: Signal, detail: str | None) -> None:
        if not self.room.isconnected() and not self.over.done():
            raise RuntimeError("join() comes first")
        saying = asyncio.create_task(self._signals.say(_message(signal, detail)))
        try:
            await first_of(saying, self.over)
            if not saying.done():
                raise SessionJobEnded(self.over.result())
        finally:
            saying.cancel()

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._started.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self.broken.done():
            self.broken.set_result(error)

    def _on_metadata_changed(self, _old: str, new: str) -> None:
        self._signals.read(new)

    def _on_disconnected(self, reason: rtc.DisconnectReason.ValueType) -> None:
        by_ourselves = reason == rtc.DisconnectReason.CLIENT_INITIATED
        self.end("left" if by_ourselves else rtc.DisconnectReason.Name(reason).lower())


async def first_of(*futures: asyncio.Future[Any], timeout: float | None = None) -> None:
    """Returns when one of them is done, or after `timeout` seconds."""
    await asyncio.wait(futures, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)


def _message(signal: Signal, detail: str | None) -> ServiceMessage:
    return ServiceMessage(type=signal, detail=detail and detail[:DETAIL_MAX])
