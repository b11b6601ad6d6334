"""Checks of livekit-server: there, ours, on time, and configured as sessions want it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from http import HTTPStatus
from typing import Self

import aiohttp
from livekit import api
from livekit.protocol import rtc
from ulid import ULID
from yarl import URL

from http_api.doctor.finding import Finding, ok, skipped, warning, wrong
from http_api.doctor.network import STUN, skew_of, stun
from http_api.settings.settings import Settings

TIMEOUT = aiohttp.ClientTimeout(total=5)
SKEW_NOTED, SKEW_MAX = 5.0, 30.0
"""Seconds; a token of a machine whose clock is a minute off is refused."""
SECRET_MIN = 32
ROOM_TIMEOUT = 30
"""Seconds after which LiveKit deletes the doctor's room, should the doctor not get round to it."""
IDENTITY = "sm-doctor"

REACHED, KEYS, CLOCK = "livekit", "livekit keys", "clock"
JOINED, AUTO_CREATE = "livekit version", "room.auto_create"


class LiveKitRefused(Exception):
    """LiveKit does not take our key and secret, or can't serve; the message says which."""


class LiveKitServerCheck:
    """The server that the settings name, looked at from this machine. An async context manager."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._key, self._secret = settings.livekit_api_key, settings.livekit_api_secret.get_secret_value()
        url = URL(settings.livekit_server_url)
        self._url = url.with_scheme({"ws": "http", "wss": "https"}.get(url.scheme, url.scheme))
        self._skew: float | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(timeout=TIMEOUT)
        self._api = api.LiveKitAPI(str(self._url), self._key, self._secret, session=self._http, failover=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def reach(self) -> Finding:
        mend = "Start livekit-server, or set LIVEKIT_SERVER_URL to where it is."
        try:
            sent = time.time()
            async with self._http.get(self._url, allow_redirects=False) as answer:
                self._skew = skew_of(answer.headers, (sent + time.time()) / 2)
                if answer.status != HTTPStatus.OK:
                    return wrong(REACHED, f"{self._url} answers with {answer.status}: no livekit-server does", mend)
        except (aiohttp.ClientError, TimeoutError) as error:
            return wrong(REACHED, f"{self._url} can't be reached ({type(error).__name__})", mend)
        return ok(REACHED, f"{self._url} answers")

    async def keys(self) -> Finding:
        try:
            async with self._asking():
                await self._api.room.list_rooms(api.ListRoomsRequest())
        except LiveKitRefused as refused:
            mend = "LIVEKIT_API_KEY and LIVEKIT_API_SECRET must be a pair in `keys` of livekit.yaml."
            return wrong(KEYS, str(refused), mend)
        if len(self._secret) < SECRET_MIN and not self._settings.dev:
            mend = f"Make one of {SECRET_MIN} characters or more: `livekit-server generate-keys`."
            return warning(KEYS, "they are accepted, but so short a secret can be guessed", mend)
        return ok(KEYS, "they are accepted")

    def clock(self) -> Finding:
        """To be asked after reach()."""
        if self._skew is None:
            return skipped(CLOCK, "livekit-server does not say what time it is")
        says = f"livekit-server's differs from ours by {abs(self._skew):.0f} s"
        mend = "Have both machines set their clocks by NTP: tokens are good from one instant to another."
        if abs(self._skew) > SKEW_MAX:
            return wrong(CLOCK, says, mend)
        return warning(CLOCK, says, mend) if abs(self._skew) > SKEW_NOTED else ok(CLOCK, says)

    async def auto_create(self) -> Finding:
        """Asks whether a room that does not exist could be joined."""
        headers = {"Authorization": f"Bearer {self.token(f'doctor-{ULID()}')}"}
        try:
            async with self._http.get(self._url / "rtc" / "validate", headers=headers) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            return skipped(AUTO_CREATE, f"livekit-server does not answer ({type(error).__name__})")
        if status == HTTPStatus.NOT_FOUND:
            return ok(AUTO_CREATE, "off: only what a session made can be joined")
        if status != HTTPStatus.OK:
            return skipped(AUTO_CREATE, f"livekit-server answers with {status}")
        says = "on: a late token brings a room back that was deleted, without its manager and services"
        return warning(AUTO_CREATE, says, "Set `auto_create: false` under `room` in livekit.yaml.")

    @asynccontextmanager
    async def room(self) -> AsyncIterator[str]:
        """The name of a room of ours, which is gone afterwards. Raises Refused."""
        name = f"doctor-{str(ULID()).lower()}"
        async with self._asking():
            await self._api.room.create_room(api.CreateRoomRequest(name=name, empty_timeout=ROOM_TIMEOUT))
        try:
            yield name
        finally:
            with suppress(LiveKitRefused):
                async with self._asking():
                    await self._api.room.delete_room(api.DeleteRoomRequest(room=name))

    async def join(self, room: str) -> list[Finding]:
        """What livekit-server tells those who join: who it is, and whom they are to ask for their own address."""
        headers, query = {"Authorization": f"Bearer {self.token(room)}"}, {"protocol": "15", "auto_subscribe": "0"}
        try:
            async with asyncio.timeout(TIMEOUT.total), self._http.ws_connect(
                self._url / "rtc", headers=headers, params=query
            ) as socket:  # fmt: skip
                told = rtc.SignalResponse.FromString(await socket.receive_bytes()).join
        except (aiohttp.ClientError, TimeoutError, TypeError, ValueError) as error:
            says = f"a room can't be joined ({type(error).__name__})"
            mend = "Whatever stands before livekit-server must let WebSockets through at /rtc."
            return [wrong(JOINED, says, mend), skipped(STUN, "a room can't be joined")]
        version = told.server_info.version or told.server_version
        urls = [url for server in told.ice_servers for url in server.urls]
        return [ok(JOINED, f"{version}, and rooms can be joined"), await stun(urls)]

    def token(self, room: str) -> str:
        grants = api.VideoGrants(room_join=True, room=room, hidden=True)
        return self._signed(api.AccessToken(self._key, self._secret).with_identity(IDENTITY).with_grants(grants))

    def caller_token(self) -> str:
        """Proves to the session manager that we hold LiveKit's key and secret."""
        grants = api.VideoGrants(room_create=True, room_admin=True)
        return self._signed(api.AccessToken(self._key, self._secret).with_grants(grants))

    def _signed(self, token: api.AccessToken) -> str:
        return token.with_ttl(timedelta(minutes=1)).to_jwt()

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        """Says nothing of what LiveKit answers, as that may have our token in it."""
        try:
            async with asyncio.timeout(TIMEOUT.total):
                yield
        except api.ServerError as error:
            why = "are not accepted" if error.status == HTTPStatus.UNAUTHORIZED else f"lead to a {error.status}"
            raise LiveKitRefused(f"they {why}") from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise LiveKitRefused(f"livekit-server does not answer ({type(error).__name__})") from None
