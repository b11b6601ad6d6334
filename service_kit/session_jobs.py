"""All running jobs of one service: starts one job per invite, runs its handler, and ends it."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from typing import NamedTuple

from manager_agent.messages import Invite, SessionEndedMessage
from service_kit.session_job import Decline, SessionJob, SessionJobEnded, first_of

Handler = Callable[[SessionJob], Awaitable[None]]
"""Called with the job of each accepted invite."""
REPLACED = "replaced"
"""The end reason for a service that was replaced by another instance in its session."""

ANSWER_WITHIN = 1.0
"""Seconds for a handler to decline; then the invite counts as accepted, as the manager waits for the response."""
SAY_FAILED_TIMEOUT = 3.0
"""Seconds to tell the manager about a failure. Leaving the room tells it as well."""
STILL_LEAVING = 3.0
"""Seconds that a repeated invite waits for its earlier job to end. The manager waits for five."""
ENDS_REMEMBERED = 10_000


class InviteReply(NamedTuple):
    """The response to a message of the manager."""

    status: HTTPStatus
    text: str


ACCEPTED = InviteReply(HTTPStatus.OK, "accepted")


class SessionJobs:
    def __init__(
        self,
        handler: Handler,
        *,
        service_id: str,
        join_timeout: float,
        grace: float,
        capacity: int | None = None,
        livekit_url: str | None = None,
    ) -> None:
        """`capacity`: concurrent jobs; None: unlimited. `join_timeout` and `grace` in seconds, as in Service.
        `livekit_url`: where LiveKit is reached, whatever an invite says; None: where the invite says."""
        self._handler, self._service_id, self._capacity = handler, service_id, capacity
        self._join_timeout, self._grace, self._livekit_url = join_timeout, grace, livekit_url
        self._live: dict[str, tuple[SessionJob, asyncio.Task[InviteReply]]] = {}
        self._ended: dict[str, None] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self.closed = False

    def __repr__(self) -> str:
        return f"<SessionJobs of {self._service_id} [{len(self._live)} of {self._capacity or 'any number'}]>"

    @property
    def live(self) -> tuple[SessionJob, ...]:
        return tuple(job for job, _ in self._live.values())

    async def take(self, message: Invite | SessionEndedMessage) -> InviteReply:
        """Handle a message of the manager and return the response."""
        if message.service_id != self._service_id:
            return InviteReply(HTTPStatus.UNPROCESSABLE_ENTITY, f"this is {self._service_id}")
        if isinstance(message, SessionEndedMessage):
            return self._end(message)
        if message.token is None:
            return InviteReply(HTTPStatus.UNPROCESSABLE_ENTITY, "an invite needs a token")
        return await self._accept(message)

    @property
    def load(self) -> float | None:
        """The used share of the capacity, from 0 to 1. None without a capacity."""
        return min(len(self._live) / self._capacity, 1.0) if self._capacity else None

    def close(self) -> None:
        """Refuse new invites. Running jobs continue."""
        self.closed = True

    async def wait_until_idle(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until no job is running. Returns whether that is so."""
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def aclose(self) -> None:
        """Refuse new invites and end every job. Returns when all rooms are left."""
        self.close()
        for job in self.live:
            job.end("service_stopped")
        if self._live:
            await asyncio.wait({running for _, running in self._live.values()})

    async def _accept(self, invite: Invite) -> InviteReply:
        """Start the job, unless it is running already: the manager repeats an invite whose response was lost."""
        if invite.id in self._live and self._live[invite.id][0].over.done():
            await first_of(self._live[invite.id][1], timeout=STILL_LEAVING)
        if invite.id not in self._live:
            if (refusal := self._refusal(invite)) is not None:
                return refusal
            self._start(invite)
        job, running = self._live[invite.id]
        if job.over.done():
            return InviteReply(HTTPStatus.SERVICE_UNAVAILABLE, "still leaving the room")
        await first_of(job.accepted, running, timeout=ANSWER_WITHIN)
        if running.done() and not job.accepted.done():
            return running.result()
        job.accept()
        return ACCEPTED

    def _refusal(self, invite: Invite) -> InviteReply | None:
        """The response to an invite that can't be accepted; None if it can."""
        if _invite_id(invite) in self._ended or invite.session.session_id in self._ended:
            return InviteReply(HTTPStatus.CONFLICT, "the session has ended for this service")
        if self.closed:
            return InviteReply(HTTPStatus.SERVICE_UNAVAILABLE, "stopping")
        if self._capacity is not None and len(self._live) >= self._capacity:
            return InviteReply(HTTPStatus.TOO_MANY_REQUESTS, f"at capacity: {self._capacity} jobs")
        return None

    def _start(self, invite: Invite) -> None:
        if self._livekit_url is not None:
            invite = invite.model_copy(update={"server_url": self._livekit_url})
        job = SessionJob(invite, join_timeout=self._join_timeout)
        running = asyncio.create_task(self._run(job), name=f"job {invite.id}")
        self._live[invite.id] = job, running
        self._idle.clear()

    def _end(self, session_ended: SessionEndedMessage) -> InviteReply:
        """End the session's jobs. If the service was replaced, end that job only: it may be invited again."""
        is_whole_session = session_ended.reason != REPLACED
        over = session_ended.session.session_id if is_whole_session else _invite_id(session_ended)
        for job in self.live:
            if over == (job.invite.session.session_id if is_whole_session else _invite_id(job.invite)):
                job.end(session_ended.reason)
        self._ended[over] = None
        if len(self._ended) > ENDS_REMEMBERED:
            del self._ended[next(iter(self._ended))]
        return InviteReply(HTTPStatus.OK, "ended")

    async def _run(self, job: SessionJob) -> InviteReply:
        """Run a job from the invite until the room is left. Returns the response to an invite not accepted yet."""
        job.log.info("invited")
        try:
            handling = asyncio.ensure_future(self._handler(job))
            await first_of(handling, job.broken, job.over)
            await first_of(handling, job.broken, timeout=self._grace)
            if handling.cancel():
                await first_of(handling, timeout=self._grace)
            return await self._outcome(job, handling)
        finally:
            await job.leave()
            del self._live[job.invite.id]
            if not self._live:
                self._idle.set()

    async def _outcome(self, job: SessionJob, handling: asyncio.Future[None]) -> InviteReply:
        """Log how the handler ended, and tell the manager if it failed."""
        error = job.broken.result() if job.broken.done() else None
        if not handling.done():
            job.log.error("handler_ignores_cancellation")
        elif not handling.cancelled():
            raised = handling.exception()  # retrieved in any case, or asyncio complains that it never was
            error = error or raised
        if isinstance(error, Decline) and not job.accepted.done():
            job.log.info("declined", why=str(error))
            return InviteReply(HTTPStatus.CONFLICT, str(error) or "declined")
        if error is not None and not _is_job_ended(error):
            # Formatted here: log renderers may show local variables, and some of those are tokens.
            job.log.error("handler_failed", exception="".join(traceback.format_exception(error)))
            await _say_failed(job, type(error).__name__)
            return InviteReply(HTTPStatus.INTERNAL_SERVER_ERROR, "the handler failed")
        job.accept()
        return ACCEPTED


def _invite_id(message: Invite | SessionEndedMessage) -> str:
    """The id of the invite, or of the invite that this message ends."""
    return message.id.removesuffix("_end")


def _is_job_ended(error: BaseException) -> bool:
    """Whether it is SessionJobEnded, or a group of only these, as a TaskGroup in the handler raises."""
    if isinstance(error, BaseExceptionGroup):
        return all(_is_job_ended(part) for part in error.exceptions)
    return isinstance(error, SessionJobEnded)


async def _say_failed(job: SessionJob, detail: str) -> None:
    if job.room.isconnected() and not job.over.done():
        with suppress(SessionJobEnded, TimeoutError):
            async with asyncio.timeout(SAY_FAILED_TIMEOUT):
                await job.say_failed(detail)
