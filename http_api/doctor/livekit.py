"""Checks of livekit-server: reachable, accepts our keys, clock in sync, configured for sessions."""

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
from yarl import URL

from http_api.doctor.finding import Finding, ok, skipped, warning, wrong
from http_api.doctor.network import STUN, skew_of, stun
from http_api.settings.secret_values import SECRET_MIN, short_secrets
from http_api.settings.settings import Settings
from manager_agent.livekit.calls import CALL_TIMEOUT
from manager_agent.livekit.rejection import why_rejected
from manager_agent.livekit_url import http_url
from manager_agent.proxy_rule import proxy_rule
from manager_agent.ulids import new_ulid
from manager_agent.unreachable import why_unreachable

TIMEOUT = aiohttp.ClientTimeout(total=CALL_TIMEOUT)
"""As for the calls of the session manager: a far server takes seconds."""
SKEW_NOTED, SKEW_MAX = 5.0, 30.0
"""Seconds. LiveKit rejects tokens from a machine whose clock is a minute off."""
ROOM_TIMEOUT = 30
"""Seconds after which LiveKit deletes the doctor's room if the doctor does not."""
IDENTITY = "sm-doctor"

REACHED, KEYS, CLOCK = "livekit", "livekit keys", "clock"
JOINED, AUTO_CREATE = "livekit version", "room.auto_create"


class LiveKitRefused(Exception):
    """LiveKit does not accept our key and secret, or can't serve; the message says which."""


class LiveKitServerCheck:
    """The livekit-server of the settings, seen from this machine. An async context manager."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._key, self._secret = settings.livekit_api_key, settings.livekit_api_secret.get_secret_value()
        self._url = URL(http_url(settings.livekit_server_url))
        self._skew: float | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(timeout=TIMEOUT, proxy=proxy_rule().of(str(self._url)))
        self._api = api.LiveKitAPI(str(self._url), self._key, self._secret, session=self._http, failover=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def reach(self) -> Finding:
        mend = "Start livekit-server, or set LIVEKIT_SERVER_URL to where it is."
        try:
            sent = time.time()
            async with self._http.get(self._url / "", allow_redirects=False) as answer:
                self._skew = skew_of(answer.headers, (sent + time.time()) / 2)
                if answer.status != HTTPStatus.OK:
                    return wrong(REACHED, f"{self._url} is no livekit-server: it answers with {answer.status}", mend)
        except (aiohttp.ClientError, TimeoutError) as error:
            return wrong(REACHED, f"{self._url} can't be reached: {why_unreachable(error)}", mend)
        return ok(REACHED, f"{self._url} answers")

    async def keys(self) -> Finding:
        try:
            async with self._asking():
                await self._api.room.list_rooms(api.ListRoomsRequest())
        except LiveKitRefused as refused:
            mend = "LIVEKIT_API_KEY and LIVEKIT_API_SECRET must be a pair in `keys` of livekit.yaml."
            return wrong(KEYS, f"{refused}{await self._why_rejected()}", mend)
        if short := short_secrets(self._settings):
            mend = f"Generate secrets of at least {SECRET_MIN} characters: `livekit-server generate-keys`."
            return warning(KEYS, f"accepted, but {' and '.join(short)} is short enough to be guessed", mend)
        return ok(KEYS, "accepted")

    async def _why_rejected(self) -> str:
        """More about a rejection, to append. Empty if there is nothing to say."""
        try:
            why = await why_rejected(self._http, self._settings.livekit_server_url, self._key, self._secret)
        except (aiohttp.ClientError, TimeoutError):
            return ""
        return f": {why}" if why else ""

    def clock(self) -> Finding:
        """Compare clocks. Call reach() first."""
        if self._skew is None:
            return skipped(CLOCK, "livekit-server's response has no Date header")
        says = f"differs from livekit-server's by {abs(self._skew):.0f} s"
        mend = "Synchronize both clocks with NTP: tokens are valid only between two instants."
        if abs(self._skew) > SKEW_MAX:
            return wrong(CLOCK, says, mend)
        return warning(CLOCK, says, mend) if abs(self._skew) > SKEW_NOTED else ok(CLOCK, says)

    async def auto_create(self) -> Finding:
        """Check whether joining a room that does not exist would create it."""
        headers = {"Authorization": f"Bearer {self.token(f'doctor-{new_ulid(time.time())}')}"}
        try:
            async with self._http.get(self._url / "rtc" / "validate", headers=headers) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            return skipped(AUTO_CREATE, f"livekit-server does not answer ({type(error).__name__})")
        if status == HTTPStatus.NOT_FOUND:
            return ok(AUTO_CREATE, "off: only rooms of sessions can be joined")
        if status != HTTPStatus.OK:
            return skipped(AUTO_CREATE, f"livekit-server answers with {status}")
        says = "on: joining with an old token recreates a deleted room, without its manager and services"
        return warning(AUTO_CREATE, says, "Set `auto_create: false` under `room` in livekit.yaml.")

    @asynccontextmanager
    async def room(self) -> AsyncIterator[str]:
        """Create a room, give its name, delete it afterwards. Raises LiveKitRefused."""
        name = f"doctor-{new_ulid(time.time()).lower()}"
        async with self._asking():
            made = await self._api.room.create_room(api.CreateRoomRequest(name=name, empty_timeout=ROOM_TIMEOUT))
        try:
            yield name
        finally:
            with suppress(LiveKitRefused):
                async with self._asking():
                    listed = await self._api.room.list_rooms(api.ListRoomsRequest(names=[name]))
                    if [room.sid for room in listed.rooms] == [made.sid]:
                        await self._api.room.delete_room(api.DeleteRoomRequest(room=name))

    async def join(self, room: str) -> list[Finding]:
        """Join the room, and check the server version and the STUN servers that LiveKit announces."""
        headers, query = {"Authorization": f"Bearer {self.token(room)}"}, {"protocol": "15", "auto_subscribe": "0"}
        try:
            async with asyncio.timeout(TIMEOUT.total), self._http.ws_connect(
                self._url / "rtc", headers=headers, params=query
            ) as socket:  # fmt: skip
                joined = rtc.SignalResponse.FromString(await socket.receive_bytes()).join
        except (aiohttp.ClientError, TimeoutError, TypeError, ValueError) as error:
            says = f"can't join a room ({type(error).__name__})"
            mend = "A proxy in front of livekit-server must pass WebSockets at /rtc."
            return [wrong(JOINED, says, mend), skipped(STUN, "can't join a room")]
        version = joined.server_info.version or joined.server_version
        urls = [url for server in joined.ice_servers for url in server.urls]
        return [ok(JOINED, f"{version}; its signaling lets a participant join"), await stun(urls)]

    def token(self, room: str) -> str:
        grants = api.VideoGrants(room_join=True, room=room, hidden=True)
        return self._signed(api.AccessToken(self._key, self._secret).with_identity(IDENTITY).with_grants(grants))

    def caller_token(self) -> str:
        """A token that proves to the session manager that we hold LiveKit's key and secret."""
        grants = api.VideoGrants(room_create=True, room_admin=True)
        return self._signed(api.AccessToken(self._key, self._secret).with_grants(grants))

    def _signed(self, token: api.AccessToken) -> str:
        return token.with_ttl(timedelta(minutes=1)).to_jwt()

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        """Turn errors into LiveKitRefused. LiveKit's own message is left out: it may contain our token."""
        try:
            async with asyncio.timeout(TIMEOUT.total):
                yield
        except api.ServerError as error:
            is_unauthorized = error.status == HTTPStatus.UNAUTHORIZED
            why = "not accepted" if is_unauthorized else f"livekit-server answers with {error.status}"
            raise LiveKitRefused(why) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise LiveKitRefused(f"livekit-server does not answer: {why_unreachable(error)}") from None
