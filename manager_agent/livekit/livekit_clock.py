"""LiveKit's time, by which it accepts and refuses tokens.

It is the process's steady clock until LiveKit's answers show that LiveKit's own is another: the wall clock of this
machine was wrong when the process was started, or LiveKit's was set since. Each answer has a Date. A proxy in front of
LiveKit may have put it there, so it is believed only if it fits what LiveKit did with the token of the request: a token
is refused at times at which it is not valid, and accepted at no other.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from typing import Any

import aiohttp
import msgspec
import structlog
from aiohttp import ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse, hdrs

from manager_agent.clock import Clock
from manager_agent.livekit.jws import JwtSigner, unverified_claims

log = structlog.get_logger()

TOKEN_SPAN = 60.0
"""Seconds before and after now for which the token of a request is valid. LiveKit adds LIVEKIT_LEEWAY on both sides."""
LIVEKIT_LEEWAY = 60.0
AGREED = 2.0
"""Seconds by which the clocks may differ; Date has whole seconds."""


class LiveKitClock:
    """A Clock of LiveKit's time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._learning, self._has_learned = threading.Lock(), False
        self.ahead = 0.0
        """Seconds by which LiveKit's time is ahead of the process's clock."""

    def __call__(self) -> float:
        return self._clock() + self.ahead

    def expect_ahead(self, seconds: float) -> None:
        """What an earlier process knew; until LiveKit answers."""
        if not self._has_learned:
            self.ahead = seconds

    def dated(self, claims: Mapping[str, Any]) -> dict[str, Any]:
        """The claims of a token for one request now."""
        now = self()
        return {**claims, "nbf": int(now - TOKEN_SPAN), "exp": int(now + TOKEN_SPAN)}

    def learn(self, headers: Mapping[str, str], sent_at: float, *, is_accepted: bool) -> bool:
        """Learn from the answer to a request with a token dated at `sent_at`, in LiveKit's time as known then. Returns
        whether LiveKit's time is another than was known. Called by several threads."""
        with self._learning:
            self._has_learned = True
            return self._learn(headers, sent_at, is_accepted)

    def _learn(self, headers: Mapping[str, str], sent_at: float, is_accepted: bool) -> bool:
        now = self()
        skew = _skew(headers, (sent_at + now) / 2)
        if skew is None or abs(skew) <= AGREED + (now - sent_at) / 2:
            return False
        if is_accepted != (abs(skew) < TOKEN_SPAN + LIVEKIT_LEEWAY):
            return False
        self.ahead += skew
        log.warning("livekit_clock_differs", ahead=round(self.ahead, 1))
        return True


def signed_in_livekits_time(clock: LiveKitClock, api_secret: str) -> ClientMiddlewareType:
    """A middleware of a ClientSession: signs the token of each request again, valid for a short time now, and learns
    LiveKit's time from the answers. A request that was refused because the time was wrong is sent again."""

    signer = JwtSigner(api_secret)

    async def send(request: ClientRequest, handler: ClientHandlerType) -> tuple[ClientResponse, bool]:
        bearer = request.headers.get(hdrs.AUTHORIZATION, "").removeprefix("Bearer ")
        claims, sent_at = unverified_claims(bearer), clock()
        request.headers[hdrs.AUTHORIZATION] = f"Bearer {signer.signed(msgspec.json.encode(clock.dated(claims)))}"
        response = await handler(request)
        is_refused = response.status == HTTPStatus.UNAUTHORIZED
        has_learned = clock.learn(response.headers, sent_at, is_accepted=not is_refused)
        return response, is_refused and has_learned

    async def sign(request: ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
        response, is_worth_repeating = await send(request, handler)
        if is_worth_repeating:
            response.release()
            response, _ = await send(request, handler)
        return response

    return sign


def _skew(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds by which the sender's clock is ahead of `now`; None without a valid Date."""
    try:
        return _instant(headers[hdrs.DATE]) + 0.5 - now  # on average half a second is cut off
    except (KeyError, ValueError):
        return None


@lru_cache(maxsize=8)
def _instant(date: str) -> float:
    """That of a Date, which all answers of a second share. Raises ValueError."""
    return parsedate_to_datetime(date).timestamp()
