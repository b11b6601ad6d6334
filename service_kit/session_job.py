"""One job of a service in one session, as seen by the service's own code:

    invited --- join() ---> in the room --- say_ready() ---> ready

It is over as soon as the manager says so, the room is gone, or the handler has returned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog
from livekit import rtc

from manager_agent.livekit.room_connection import connect
from manager_agent.messages import DETAIL_MAX, Invite, ReadyOn, ServiceMessage, Signal
from manager_agent.traceparent import read_trace
from service_kit.signals import SignalSender

LEAVE_TIMEOUT = 5.0
ATTRIBUTE_TIMEOUT = 2.0
AGENT_STATE = "lk.agent.state"
"""LiveKit's own attribute, by which stock front ends (`useAgent`, `useVoiceAssistant`) show an agent as available."""
AVAILABLE = "listening"


class Decline(Exception):
    """Raise it before join() to decline the invite. The manager invites another instance, or this one again later."""


class SessionJobEnded(Exception):
    """The session is over or the room is gone, so nothing can be sent."""


class SessionJob:
    """The argument of a handler. `invite`: the manager's invite. `room`: an `rtc.Room`, not connected before join(), so
    that listeners can be attached before the first event."""

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
        return f"<SessionJob of {self.invite.service_id} in {self.invite.session.room_name} [{state}]>"

    @property
    def trace_headers(self) -> dict[str, str]:
        """The trace context of this job (W3C Trace Context), as OpenTelemetry's `propagate.extract` takes it. Empty if
        the session is not traced."""
        return self._trace.headers if self._trace else {}

    async def join(self, options: rtc.RoomOptions | None = None) -> rtc.Room:
        """Accept the invite and join the room. Raises SessionJobEnded, TimeoutError, rtc.ConnectError."""
        self.accept()
        token = self.invite.token or ""
        await connect(self.room, self.invite.server_url, token, options or rtc.RoomOptions(), self._join_timeout)
        if self.over.done():
            raise SessionJobEnded(self.over.result())
        self.log.info("joined", identity=self.invite.identity)
        self._signals.read_metadata(self.room.metadata)
        self.room.on("room_metadata_changed", self._on_metadata_changed)
        # After a reconnect with a new sid the manager sees a new participant; the SDK does not say if the sid changed.
        self.room.on("reconnected", self._signals.resend)
        if self.invite.ready_on is ReadyOn.JOIN:
            await self._show_available()
        return self.room

    async def say_ready(self, detail: str | None = None) -> None:
        """Tell the manager that the service is ready, and front ends that it is available (`lk.agent.state`); returns
        when the manager has acknowledged it. A service that shows states of its own sets them after this.

        A manager that takes over later is told automatically. Raises SessionJobEnded.
        """
        await asyncio.gather(self._say(Signal.READY, detail), self._show_available())

    async def say_failed(self, detail: str | None = None) -> None:
        """Tell the manager that the service has failed in this session. Otherwise like say_ready."""
        await self._say(Signal.FAILED, detail)

    def say_progress(self, detail: str) -> None:
        """Tell the manager about progress. Nothing depends on it: it is sent once, and not awaited."""
        self.start(self._signals.send_once(_message(Signal.PROGRESS, detail)))

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` concurrently with the handler until the job is over: for room callbacks, which can't await.

        An exception in `work` counts as an exception of the handler.
        """
        task = asyncio.create_task(work)
        self._started.add(task)
        task.add_done_callback(self._on_task_done)

    async def ended(self) -> str:
        """Wait until the job is over. Returns why: the session's end reason, or the reason of the disconnect."""
        return await asyncio.shield(self.over)

    def accept(self) -> None:
        """Accept the invite: it can't be declined anymore. Called by join(). Idempotent."""
        if not self.accepted.done():
            self.accepted.set_result(None)

    def end(self, reason: str) -> None:
        """End the job; the handler then has the grace period to finish. Idempotent."""
        if not self.over.done():
            self.log.info("visit_over", reason=reason)
            self.over.set_result(reason)

    async def leave(self) -> None:
        """Cancel the started tasks and leave the room. Never raises; takes at most LEAVE_TIMEOUT seconds."""
        self.end("left")
        self._signals.stop()
        for task in self._started:
            task.cancel()
        try:
            async with asyncio.timeout(LEAVE_TIMEOUT):
                await self.room.disconnect()
        except Exception as error:
            self.log.warning("not_left_in_order", why=repr(error))

    async def _show_available(self) -> None:
        """Set `lk.agent.state`. Nothing of the session depends on it."""
        if not self.room.isconnected():
            return
        try:
            async with asyncio.timeout(ATTRIBUTE_TIMEOUT):
                await self.room.local_participant.set_attributes({AGENT_STATE: AVAILABLE})
        except Exception as error:
            self.log.warning("agent_state_not_set", why=repr(error))

    async def _say(self, signal: Signal, detail: str | None) -> None:
        if not self.room.isconnected() and not self.over.done():
            raise RuntimeError("call join() first")
        sending = asyncio.create_task(self._signals.send(_message(signal, detail)))
        try:
            await first_of(sending, self.over)
            if not sending.done():
                raise SessionJobEnded(self.over.result())
        finally:
            sending.cancel()

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._started.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self.broken.done():
            self.broken.set_result(error)

    def _on_metadata_changed(self, _old: str, new: str) -> None:
        self._signals.read_metadata(new)

    def _on_disconnected(self, reason: rtc.DisconnectReason.ValueType) -> None:
        is_own_doing = reason == rtc.DisconnectReason.CLIENT_INITIATED
        self.end("left" if is_own_doing else rtc.DisconnectReason.Name(reason).lower())


async def first_of(*futures: asyncio.Future[Any], timeout: float | None = None) -> None:
    """Wait until one of them is done, or for `timeout` seconds."""
    await asyncio.wait(futures, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)


def _message(signal: Signal, detail: str | None) -> ServiceMessage:
    return ServiceMessage(type=signal, detail=detail and detail[:DETAIL_MAX])
