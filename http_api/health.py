"""Is it up, may it be sent requests: for people, and for whatever supervises the process."""

from __future__ import annotations

from typing import Literal

from aiohttp import web

from http_api import VERSION, keys
from http_api.bodies import read_query
from http_api.errors import Unready
from http_api.schemas import HealthQuery
from http_api.views import View, answer


class Health(View):
    status: Literal["ok"] = "ok"
    version: str = VERSION
    manager_agent: Literal["registered", "not registered"]


class Alive(View):
    status: Literal["ok"] = "ok"


class Proven(View):
    status: Literal["ok"] = "ok"
    version: str = VERSION
    took_ms: int
    """To make a room, see its manager come, join it, and get an answer from the manager."""


async def health(request: web.Request) -> web.Response:
    """That the process answers; with `?deep=true`, that a session can be had (503 when it can't)."""
    if read_query(request, HealthQuery).deep:
        return answer(Proven(took_ms=round(await request.app[keys.PROBE].run() * 1000)))
    registered = request.app[keys.AGENT].registered
    return answer(Health(manager_agent="registered" if registered else "not registered"))


async def livez(_: web.Request) -> web.Response:
    """The event loop turns; no more than that, as a restart would not help against anything else."""
    return answer(Alive())


async def readyz(request: web.Request) -> web.Response:
    """503 until LiveKit can send this process rooms to manage, and once it is stopping."""
    if request.app[keys.STOPPING].is_set():
        raise Unready("the session manager is stopping")
    if not request.app[keys.AGENT].registered:
        raise Unready("the manager agent is not registered with LiveKit")
    return answer(Alive())
