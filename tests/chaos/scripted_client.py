"""The client and the user of one session of a run. The client follows Retry-After, and asks again when its connection
breaks."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

import aiohttp
from livekit import rtc

from manager_agent.livekit.room_connection import connect, disconnect
from tests.chaos.happenings import Happenings
from tests.chaos.ledger import KnownSession, Ledger, View
from tests.chaos.scripts_of_sessions import SessionScript

POLL_PAUSE = 0.15
CONNECT_TIMEOUT = 120.0
QUIETLY = rtc.RoomOptions(auto_subscribe=False)


class ApiCaller:
    """Calls the API until it gets an answer other than 503."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/api/v1"

    async def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        async with aiohttp.ClientSession() as http:
            while True:
                pause = 0.1
                try:
                    async with http.request(method, self._url + path, json=body, headers=headers) as answer:
                        if answer.status != HTTPStatus.SERVICE_UNAVAILABLE:
                            return answer.status, await answer.json()
                        pause = min(float(answer.headers.get("Retry-After", pause)), 1.0)
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(pause)


class ScriptedClient:
    def __init__(
        self, script: SessionScript, api: ApiCaller, *, callback_url: str, happenings: Happenings, ledger: Ledger
    ) -> None:
        self.script = script
        self._api, self._callback_url = api, callback_url
        self._happenings, self._ledger = happenings, ledger
        self.known: KnownSession | None = None
        """Its session, once it is acknowledged."""
        self._key = f"chaos-{script.number}" if script.number % 2 else None
        """Every second client has one."""
        self._rooms: list[rtc.Room] = []
        self.is_opening = True
        """Whether its session is yet to be ready and used."""

    def __repr__(self) -> str:
        return f"<ScriptedClient {self.script.number} of {self.known.session_id if self.known else None}>"

    async def run(self) -> None:
        """Return when the script is through; the session may live on."""
        try:
            is_over = await self._open()
        finally:
            self.is_opening = False
        if self.script.lasts is not None and not is_over:
            await asyncio.sleep(self.script.lasts)
            await self.end()

    async def _open(self) -> bool:
        """Ask for the session, and use it once it is ready. Returns whether it was over before."""
        view = await self._create()
        while "access_token" not in view and view["reason"] is None:
            await asyncio.sleep(POLL_PAUSE)
            view = await self._ask("GET", "")
        if view["reason"] is None:
            await self._happenings.happens("token received")
            await self._use(view)
        return view["reason"] is not None

    async def end(self) -> None:
        """End the session, as often as it takes until that is acknowledged."""
        assert self.known is not None
        self.known.is_unwanted = True
        asking = asyncio.create_task(self._ask("DELETE", ""))
        await self._happenings.happens("end requested")
        await asking
        await self._happenings.happens("end acknowledged")

    async def leave(self) -> None:
        for room in self._rooms:
            await disconnect(room)

    async def repeat(self) -> None:
        """Ask for the session again, with the same Idempotency-Key if it had one. It must be the same."""
        if self.known is None or self._key is None:
            return
        status, view = await self._api("POST", "/sessions", self._body, **self._headers)
        if (status // 100, view.get("session_id")) != (2, self.known.session_id):
            what = f"{self._key} of {self.known.session_id} is answered with {status} {view}"
            self._ledger.breaks("a repeated request finds its session", what)

    async def _create(self) -> View:
        asking = asyncio.create_task(self._api("POST", "/sessions", self._body, **self._headers))
        await self._happenings.happens("session requested")
        status, view = await asking
        if status not in (HTTPStatus.CREATED, HTTPStatus.ACCEPTED):
            self._ledger.breaks("sessions are created", f"{status}: {view}")
            raise AssertionError(view)
        self.known = self._ledger.answered(view)
        await self._happenings.happens("session acknowledged")
        return dict(view)

    @property
    def _headers(self) -> dict[str, str]:
        key = {} if self._key is None else {"Idempotency-Key": self._key}
        return {"Prefer": self.script.prefer} | key

    @property
    def _body(self) -> dict[str, Any]:
        return {
            "user_identity": f"user-{self.script.number}",
            "user_name": f"User {self.script.number}",
            "metadata": self.script.metadata,
            "required_services": [entry.requirement for entry in self.script.entries],
            "callback_url": self._callback_url,
        }

    async def _ask(self, method: str, path: str) -> View:
        assert self.known is not None
        session_id = self.known.session_id
        status, view = await self._api(method, f"/sessions/{session_id}{path}")
        if status == HTTPStatus.CONFLICT:  # no token at the moment: a service has to be replaced
            return self.known.first
        if status != HTTPStatus.OK:
            self._ledger.breaks("no acknowledged session is lost", f"{method} of {session_id}: {status} {view}")
            raise AssertionError(view)
        self._ledger.answered(view)
        return dict(view)

    async def _use(self, view: View) -> None:
        path = f"/sessions/{view['session_id']}"
        if self.script.renews_token:
            await self._ask("POST", "/token")
            await self._happenings.happens("token renewed")
        if self.script.user_joins:
            await self._join(view)
            await self._happenings.happens("user joined")
        if self.script.invites_guest:
            status, guest = await self._api("POST", f"{path}/participants", {"identity": f"guest-{self.script.number}"})
            if status == HTTPStatus.CREATED:
                await self._join(guest)
                await self._happenings.happens("guest admitted")

    async def _join(self, view: View) -> None:
        """Enter the room, unless the session is over. A connect may fail on a starved machine."""
        while True:
            try:
                return await self._enter(view)
            except (rtc.ConnectError, TimeoutError):
                if (await self._ask("GET", ""))["reason"] is not None:
                    return None

    async def _enter(self, view: View) -> None:
        assert self.known is not None
        known, room = self.known, rtc.Room()
        self._rooms.append(room)

        def note_end(reason: Any) -> None:
            is_expected = known.is_unwanted or known.over is not None or self._ledger.rooms_are_lost
            if is_in and not is_expected:
                self._ledger.breaks("no human is disconnected", f"{room.name}: {rtc.DisconnectReason.Name(reason)}")

        is_in = False
        room.on("disconnected", note_end)
        await connect(room, view["server_url"], view["access_token"], QUIETLY, CONNECT_TIMEOUT)
        is_in = True
        known.humans += 1
