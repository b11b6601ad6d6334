"""What the server API of a faulty LiveKit answers: behaviors for LiveKitProxy.on (livekit_proxy.py).

A behavior takes the Call and returns the answer. It may ask LiveKit first, or raise TwirpError or ConnectionCut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from tests.waiting import waiting_for


class ConnectionCut(Exception):
    """The connection is closed without an answer."""


class TwirpError(Exception):
    """An error that the server API answers."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status, self.body = status, {"code": code, "msg": message}


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the server API."""

    method: str
    request: Any
    """The decoded message, as in livekit.api."""
    ask: Callable[[], Awaitable[Any]]
    """Asks LiveKit and returns its answer, decoded. Raises TwirpError."""
    empty: Callable[[], Any]
    """Makes an answer of the right type without content."""


Behavior = Callable[[Call], Awaitable[Any]]
Change = Callable[[Any], None]


def altered(change: Change) -> Behavior:
    """LiveKit's answer, changed in place by `change`."""

    async def behavior(call: Call) -> Any:
        answer = await call.ask()
        change(answer)
        return answer

    return behavior


async def emptied(call: Call) -> Any:
    """An answer without content, in place of LiveKit's. LiveKit is not asked."""
    return call.empty()


async def dropped(call: Call) -> Any:
    """LiveKit is not asked, and the connection is closed."""
    raise ConnectionCut


async def answer_lost(call: Call) -> Any:
    """LiveKit does what is asked, and its answer is lost."""
    await call.ask()
    raise ConnectionCut


def failing(
    status: int = HTTPStatus.INTERNAL_SERVER_ERROR, code: str = "internal", message: str = "broken"
) -> Behavior:
    """An error, such as `failing(404, "not_found")`. LiveKit is not asked."""

    async def behavior(call: Call) -> Any:
        raise TwirpError(status, code, message)

    return behavior


class Hold:
    """Holds calls until it is released: before LiveKit is asked, or with `answers` the answers of LiveKit, which are
    outdated by then."""

    def __init__(self, *, answers: bool = False) -> None:
        self._answers = answers
        self._reached, self._released = asyncio.Event(), asyncio.Event()

    async def __call__(self, call: Call) -> Any:
        answer = await call.ask() if self._answers else None
        await self.wait()
        return answer if self._answers else await call.ask()

    def __repr__(self) -> str:
        return f"<Hold reached={self._reached.is_set()} released={self._released.is_set()}>"

    async def wait(self) -> None:
        """Be held until it is released."""
        self._reached.set()
        await self._released.wait()

    async def reached(self) -> None:
        """Return once a call is held."""
        async with waiting_for("a call to hold", lambda: self):
            await self._reached.wait()

    def release(self) -> None:
        """Let the held calls go on, and all later ones."""
        self._released.set()


def without_participant(*identities: str) -> Change:
    """For ListParticipants: the listing lacks these participants."""
    return _without("participants", lambda one: one.identity in identities)


def without_room(*names: str) -> Change:
    """For ListRooms: the listing lacks these rooms."""
    return _without("rooms", lambda one: one.name in names)


def _without(field: str, missing: Callable[[Any], bool]) -> Change:
    def change(answer: Any) -> None:
        listed = getattr(answer, field)
        kept = [one for one in listed if not missing(one)]
        del listed[:]
        listed.extend(kept)

    return change
