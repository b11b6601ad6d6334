"""All visits of one service: each invite once, its handler beside it, and an end to each."""

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
"""What is done with an invite."""
REPLACED = "replaced"
"""The reason of a farewell to one whose place in the session was given to another."""

ANSWER_WITHIN = 1.0
"""Seconds a handler has to decline. The manager waits for the answer, so silence is consent."""
SAY_FAILED_TIMEOUT = 3.0
"""Seconds for the manager to hear of it. Leaving the room tells it as well."""
STILL_LEAVING = 3.0
"""Seconds that an invite waits for its own earlier visit to be gone. The manager waits for five."""
ENDS_REMEMBERED = 10_000


class InviteReply(NamedTuple):
    """The answer to a message of the manager."""

    status: HTTPStatus
    text: str


ACCEPTED = InviteReply(HTTPStatus.OK, "accepted")


class SessionJobs:
    def __init__(
        self, handler: Handler, *, service_id: str, join_timeout: float, grace: float, capacity: int | None = None
    ) -> None:
        """`capacity`: visits at once; None: as many as come."""
        self._handler, self._service_id, self._capacity = handler, service_id, capacity
        self._join_timeout, self._grace = join_timeout, grace
        self._live: dict[str, tuple[SessionJob, asyncio.Task[InviteReply]]] = {}
        self._ended: dict[str, None] = {}
        self._alone = asyncio.Event()
        self._alone.set()
        self.closed = False

    def __repr__(self) -> str:
        return f"<SessionJobs of {self._service_id} [{len(self._live)} of {self._capacity or 'any number'}]>"

    @property
    def live(self) -> tuple[SessionJob, ...]:
        return tuple(job for job, _ in self._live.values())

    async def take(self, message: Invite | SessionEndedMessage) -> InviteReply:
        """What a message of the manager leads to, and the answer to it."""
        if message.service_id != self._service_id:
            return InviteReply(HTTPStatus.UNPROCESSABLE_ENTITY, f"this is {self._service_id}")
        if isinstance(message, SessionEndedMessage):
            return self._end(message)
        if message.token is None:
            return InviteReply(HTTPStatus.UNPROCESSABLE_ENTITY, "an invite needs a token")
        return await self._welcome(message)

    @property
    def load(self) -> float | None:
        """How full it is, 0 to 1; None without a capacity."""
        return min(len(self._live) / self._capacity, 1.0) if self._capacity else None

    def close(self) -> None:
        """Takes no new ones; those that are going on go on."""
        self.closed = True

    async def alone(self, timeout: float) -> bool:
        """Waits until no visit is left, for `timeout` seconds at the most; whether it is so."""
        try:
            async with asyncio.timeout(timeout):
                await self._alone.wait()
        except TimeoutError:
            return False
        return True

    async def aclose(self) -> None:
        """Ends every visit and takes no more; returns when all rooms are left."""
        self.close()
        for job in self.live:
            job.end("service_stopped")
        if self._live:
            await asyncio.wait({attending for _, attending in self._live.values()})

    async def _welcome(self, invite: Invite) -> InviteReply:
        """Begins the visit, unless it is going on: the same invite comes again when an answer was lost."""
        if invite.id in self._live and self._live[invite.id][0].over.done():
            await first_of(self._live[invite.id][1], timeout=STILL_LEAVING)
        if invite.id not in self._live:
            if (refusal := self._refusal(invite)) is not None:
                return refusal
            self._begin(invite)
        job, attending = self._live[invite.id]
        if job.over.done():
            return InviteReply(HTTPStatus.SERVICE_UNAVAILABLE, "still leaving the room")
        await first_of(job.accepted, attending, timeout=ANSWER_WITHIN)
        if attending.done() and not job.accepted.done():
            return attending.result()
        job.accept()
        return ACCEPTED

    def _refusal(self, invite: Invite) -> InviteReply | None:
        """The answer to an invite that no visit can follow."""
        if _place(invite) in self._ended or invite.session.session_id in self._ended:
            return InviteReply(HTTPStatus.CONFLICT, "this is over")
        if self.closed:
            return InviteReply(HTTPStatus.SERVICE_UNAVAILABLE, "stopping")
        if self._capacity is not None and len(self._live) >= self._capacity:
            return InviteReply(HTTPStatus.TOO_MANY_REQUESTS, f"{self._capacity} visits are as many as there may be")
        return None

    def _begin(self, invite: Invite) -> None:
        job = SessionJob(invite, join_timeout=self._join_timeout)
        attending = asyncio.create_task(self._attend(job), name=f"attend {invite.id}")
        self._live[invite.id] = job, attending
        self._alone.clear()

    def _end(self, session_ended: SessionEndedMessage) -> InviteReply:
        """Ends the session's visits; or the one alone whose place was given to another, as we may be invited again."""
        whole = session_ended.reason != REPLACED
        over = session_ended.session.session_id if whole else _place(session_ended)
        for job in self.live:
            if over == (job.invite.session.session_id if whole else _place(job.invite)):
                job.end(session_ended.reason)
        self._ended[over] = None
        if len(self._ended) > ENDS_REMEMBERED:
            del self._ended[next(iter(self._ended))]
        return InviteReply(HTTPStatus.OK, "farewell")

    async def _attend(self, job: SessionJob) -> InviteReply:
        """A whole visit, from the invite to having left. Returns the answer to an invite not accepted yet."""
        job.log.info("invited")
        try:
            working = asyncio.ensure_future(self._handler(job))
            await first_of(working, job.broken, job.over)
            await first_of(working, job.broken, timeout=self._grace)
            if working.cancel():
                await first_of(working, timeout=self._grace)
            return await self._outcome(job, working)
        finally:
            await job.leave()
            del self._live[job.invite.id]
            if not self._live:
                self._alone.set()

    async def _outcome(self, job: SessionJob, working: asyncio.Future[None]) -> InviteReply:
        """What became of the handler; the manager is told when it failed."""
        error = job.broken.result() if job.broken.done() else None
        if not working.done():
            job.log.error("handler_ignores_cancellation")
        elif not working.cancelled():
            error = error or working.exception()
        if isinstance(error, Decline) and not job.accepted.done():
            job.log.info("declined", why=str(error))
            return InviteReply(HTTPStatus.CONFLICT, str(error) or "declined")
        if error is not None and not _says_it_ended(error):
            # Formatted here: renderers may show the values of variables, and some of those are tokens.
            job.log.error("handler_failed", exception="".join(traceback.format_exception(error)))
            await _say_failed(job, type(error).__name__)
            return InviteReply(HTTPStatus.INTERNAL_SERVER_ERROR, "the handler failed")
        job.accept()
        return ACCEPTED


def _place(message: Invite | SessionEndedMessage) -> str:
    """Which invite this is, or is the end of."""
    return message.id.removesuffix("_end")


def _says_it_ended(error: BaseException) -> bool:
    """A handler that is told so in the middle of a TaskGroup raises a group."""
    if isinstance(error, BaseExceptionGroup):
        return all(_says_it_ended(part) for part in error.exceptions)
    return isinstance(error, SessionJobEnded)


async def _say_failed(job: SessionJob, detail: str) -> None:
    if job.room.isconnected() and not job.over.done():
        with suppress(SessionJobEnded, TimeoutError):
            async with asyncio.timeout(SAY_FAILED_TIMEOUT):
                await job.say_failed(detail)
