"""All visits of one service: each invite once, its handler beside it, and an end to each."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from typing import NamedTuple

from manager_agent.messages import Farewell, Invite
from service_kit.session_job import Decline, Visit, VisitEnded, first_of

Handler = Callable[[Visit], Awaitable[None]]
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


class Reply(NamedTuple):
    """The answer to a message of the manager."""

    status: HTTPStatus
    text: str


ACCEPTED = Reply(HTTPStatus.OK, "accepted")


class Visits:
    def __init__(
        self, handler: Handler, *, service_id: str, join_timeout: float, grace: float, capacity: int | None = None
    ) -> None:
        """`capacity`: visits at once; None: as many as come."""
        self._handler, self._service_id, self._capacity = handler, service_id, capacity
        self._join_timeout, self._grace = join_timeout, grace
        self._live: dict[str, tuple[Visit, asyncio.Task[Reply]]] = {}
        self._ended: dict[str, None] = {}
        self._alone = asyncio.Event()
        self._alone.set()
        self.closed = False

    def __repr__(self) -> str:
        return f"<Visits of {self._service_id} [{len(self._live)} of {self._capacity or 'any number'}]>"

    @property
    def live(self) -> tuple[Visit, ...]:
        return tuple(visit for visit, _ in self._live.values())

    async def take(self, message: Invite | Farewell) -> Reply:
        """What a message of the manager leads to, and the answer to it."""
        if message.service_id != self._service_id:
            return Reply(HTTPStatus.UNPROCESSABLE_ENTITY, f"this is {self._service_id}")
        if isinstance(message, Farewell):
            return self._end(message)
        if message.token is None:
            return Reply(HTTPStatus.UNPROCESSABLE_ENTITY, "an invite needs a token")
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
        for visit in self.live:
            visit.end("service_stopped")
        if self._live:
            await asyncio.wait({attending for _, attending in self._live.values()})

    async def _welcome(self, invite: Invite) -> Reply:
        """Begins the visit, unless it is going on: the same invite comes again when an answer was lost."""
        if invite.id in self._live and self._live[invite.id][0].over.done():
            await first_of(self._live[invite.id][1], timeout=STILL_LEAVING)
        if invite.id not in self._live:
            if (refusal := self._refusal(invite)) is not None:
                return refusal
            self._begin(invite)
        visit, attending = self._live[invite.id]
        if visit.over.done():
            return Reply(HTTPStatus.SERVICE_UNAVAILABLE, "still leaving the room")
        await first_of(visit.accepted, attending, timeout=ANSWER_WITHIN)
        if attending.done() and not visit.accepted.done():
            return attending.result()
        visit.accept()
        return ACCEPTED

    def _refusal(self, invite: Invite) -> Reply | None:
        """The answer to an invite that no visit can follow."""
        if _place(invite) in self._ended or invite.session.session_id in self._ended:
            return Reply(HTTPStatus.CONFLICT, "this is over")
        if self.closed:
            return Reply(HTTPStatus.SERVICE_UNAVAILABLE, "stopping")
        if self._capacity is not None and len(self._live) >= self._capacity:
            return Reply(HTTPStatus.TOO_MANY_REQUESTS, f"{self._capacity} visits are as many as there may be")
        return None

    def _begin(self, invite: Invite) -> None:
        visit = Visit(invite, join_timeout=self._join_timeout)
        attending = asyncio.create_task(self._attend(visit), name=f"attend {invite.id}")
        self._live[invite.id] = visit, attending
        self._alone.clear()

    def _end(self, farewell: Farewell) -> Reply:
        """Ends the session's visits; or the one alone whose place was given to another, as we may be invited again."""
        whole = farewell.reason != REPLACED
        over = farewell.session.session_id if whole else _place(farewell)
        for visit in self.live:
            if over == (visit.invite.session.session_id if whole else _place(visit.invite)):
                visit.end(farewell.reason)
        self._ended[over] = None
        if len(self._ended) > ENDS_REMEMBERED:
            del self._ended[next(iter(self._ended))]
        return Reply(HTTPStatus.OK, "farewell")

    async def _attend(self, visit: Visit) -> Reply:
        """A whole visit, from the invite to having left. Returns the answer to an invite not accepted yet."""
        visit.log.info("invited")
        try:
            working = asyncio.ensure_future(self._handler(visit))
            await first_of(working, visit.broken, visit.over)
            await first_of(working, visit.broken, timeout=self._grace)
            if working.cancel():
                await first_of(working, timeout=self._grace)
            return await self._outcome(visit, working)
        finally:
            await visit.leave()
            del self._live[visit.invite.id]
            if not self._live:
                self._alone.set()

    async def _outcome(self, visit: Visit, working: asyncio.Future[None]) -> Reply:
        """What became of the handler; the manager is told when it failed."""
        error = visit.broken.result() if visit.broken.done() else None
        if not working.done():
            visit.log.error("handler_ignores_cancellation")
        elif not working.cancelled():
            error = error or working.exception()
        if isinstance(error, Decline) and not visit.accepted.done():
            visit.log.info("declined", why=str(error))
            return Reply(HTTPStatus.CONFLICT, str(error) or "declined")
        if error is not None and not _says_it_ended(error):
            # Formatted here: renderers may show the values of variables, and some of those are tokens.
            visit.log.error("handler_failed", exception="".join(traceback.format_exception(error)))
            await _say_failed(visit, type(error).__name__)
            return Reply(HTTPStatus.INTERNAL_SERVER_ERROR, "the handler failed")
        visit.accept()
        return ACCEPTED


def _place(message: Invite | Farewell) -> str:
    """Which invite this is, or is the end of."""
    return message.id.removesuffix("_end")


def _says_it_ended(error: BaseException) -> bool:
    """A handler that is told so in the middle of a TaskGroup raises a group."""
    if isinstance(error, BaseExceptionGroup):
        return all(_says_it_ended(part) for part in error.exceptions)
    return isinstance(error, VisitEnded)


async def _say_failed(visit: Visit, detail: str) -> None:
    if visit.room.isconnected() and not visit.over.done():
        with suppress(VisitEnded, TimeoutError):
            async with asyncio.timeout(SAY_FAILED_TIMEOUT):
                await visit.say_failed(detail)
