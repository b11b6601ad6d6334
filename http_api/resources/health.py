"""Is it up, may it be sent requests: for people, and for whatever supervises the process."""

from __future__ import annotations

from typing import Literal

from aiohttp import web

from http_api.access.principals import Scope
from http_api.app_keys import AGENT, PROBE, STOPPING
from http_api.errors import MissingScope, Unready
from http_api.limits.rate_limits import identify
from http_api.models.requests import HealthQuery
from http_api.models.responses import Alive, Health, Proven, answer
from http_api.protocol.bodies import read_query

PROBING = frozenset({Scope.ADMIN, Scope.METRICS})


async def health(request: web.Request) -> web.Response:
    """Says that the process answers; with `?deep=true`, that a session can be had (503 when it can't).

    As that makes a room, it is for callers with the scope `admin` or `metrics`.
    """
    if read_query(request, HealthQuery).deep:
        principal = await identify(request)
        if not principal.scopes & PROBING:
            raise MissingScope(*sorted(PROBING))
        proof = await request.app[PROBE].run()
        webhooks: Literal["arrived", "none came"] = "arrived" if proof.webhooks_arrive else "none came"
        return answer(Proven(took_ms=round(proof.took * 1000), webhooks=webhooks))
    registered = request.app[AGENT].registered
    return answer(Health(manager_agent="registered" if registered else "not registered"))


async def livez(_: web.Request) -> web.Response:
    """Says that the event loop turns.

    No more than that, as a restart would not help against anything else.
    """
    return answer(Alive())


async def readyz(request: web.Request) -> web.Response:
    """Says whether this process may be sent requests.

    503 until LiveKit can send it rooms to manage, and once it is stopping.
    """
    if request.app[STOPPING].is_set():
        raise Unready("the session manager is stopping")
    if not request.app[AGENT].registered:
        raise Unready("the manager agent is not registered with LiveKit")
    return answer(Alive())
