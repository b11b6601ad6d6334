"""A token server that does not wait: what a user would have without a gate. Runs as a separate process of gate.py.

    python -m benchmarks.token_server PORT LIVEKIT_URL ENDPOINT ...

It makes the room, invites a service at each endpoint, and answers with the user's token, whether or not one comes.
"""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Sequence
from itertools import count

import aiohttp
from aiohttp import web
from livekit import api

from benchmarks.one_service import KEY, SECRET, token
from benchmarks.served import served_until_closed


class HastyTokens:
    def __init__(
        self, livekit: api.LiveKitAPI, url: str, http: aiohttp.ClientSession, endpoints: Sequence[str]
    ) -> None:
        self._livekit, self._url, self._http, self._endpoints = livekit, url, http, endpoints
        self._numbers = count()
        self._inviting: set[asyncio.Task[None]] = set()

    async def give(self, _: web.Request) -> web.Response:
        name = f"hasty-{next(self._numbers)}"
        await self._livekit.room.create_room(api.CreateRoomRequest(name=name))
        for endpoint in self._endpoints:
            task = asyncio.create_task(invite(self._http, endpoint, self._url, name))
            self._inviting.add(task)
            task.add_done_callback(self._inviting.discard)
        return web.json_response({"room_name": name, "access_token": token(name, "user", hidden=False)})


async def invite(http: aiohttp.ClientSession, endpoint: str, url: str, room_name: str) -> None:
    """What the session manager sends, as far as the service needs it."""
    identity = endpoint.rpartition("/")[2]
    message = {
        "event": "session_invited",
        "server_url": url,
        "token": token(room_name, identity, hidden=False),
        "session": {"room_name": room_name},
    }
    async with http.post(endpoint, json=message, raise_for_status=True):
        pass


async def serve(port: int, url: str, endpoints: Sequence[str]) -> None:
    """Serve until stdin is closed."""
    app = web.Application()
    async with api.LiveKitAPI(url, KEY, SECRET) as livekit, aiohttp.ClientSession() as http:
        app.router.add_post("/", HastyTokens(livekit, url, http, endpoints).give)
        await served_until_closed(app, port)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
