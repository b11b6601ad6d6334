"""The services of a run: they take invites, join and say ready as their session's script wants it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Self

import aiohttp
from aiohttp import web
from livekit import rtc
from livekit.rtc.participant import PublishDataError

from manager_agent.livekit.room_connection import connect, disconnect
from manager_agent.messages import TOPIC, Invite, RoomStatus
from manager_agent.tasks import Tasks
from scripts.free_ports import free_port
from tests.chaos.happenings import Happenings
from tests.chaos.ledger import InvitedAs, Ledger
from tests.chaos.scripts_of_sessions import EntryScript, Failure, Means, SessionScript

QUIETLY = rtc.RoomOptions(auto_subscribe=False)
CONNECT_TIMEOUT = 120.0
REPEAT_PAUSE = 0.3
HTTP_TIMEOUT = 10.0
"""Seconds: a frozen process never answers."""

ScriptOf = Callable[[Any], SessionScript]
"""From the session's metadata."""


class ScriptedService:
    def __init__(
        self,
        service_id: str,
        type_name: str,
        means: Means,
        *,
        happenings: Happenings,
        ledger: Ledger,
        script_of: ScriptOf,
    ) -> None:
        self.service_id, self.type_name, self.means = service_id, type_name, means
        self._happenings, self._ledger, self._script_of = happenings, ledger, script_of
        self._visits: dict[str, asyncio.Task[None]] = {}
        """By invite id."""
        self._tasks = Tasks()
        self.api_url = ""
        """Of the session manager."""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/", self._receive)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        port = free_port()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.endpoint = f"http://127.0.0.1:{port}/"
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=HTTP_TIMEOUT))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._tasks.aclose()
        await self._http.close()
        await self._runner.cleanup()

    @property
    def registration(self) -> dict[str, Any]:
        ready_on = "join" if self.means is Means.JOIN else "signal"
        return {
            "service_id": self.service_id,
            "endpoint": self.endpoint,
            "ready_on": ready_on,
            "metadata": {"type": self.type_name},
        }

    def leave_all(self) -> None:
        """The run is over."""
        for visit in self._visits.values():
            visit.cancel()

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.text()
        said = json.loads(body)
        if said["event"] == "session_ended":
            visit = self._visits.get(said["id"].removesuffix("_end"))
            self._note_end(said, visit)
            await self._happenings.happens("session end received")
            return web.Response()
        invite = Invite.model_validate_json(body)
        key = self._ledger.invited(invite)
        script = self._script_of(invite.session.metadata)
        entry = script.entries[script.entry_of(self.service_id)]
        await self._happenings.happens("invite received", attempt=invite.attempt)
        if invite.attempt == 1 and entry.failure is Failure.DECLINES:
            self._ledger.failed.add(key)
            await self._happenings.happens("service failed")
            return web.Response(status=HTTPStatus.CONFLICT)
        if invite.id not in self._visits:
            visit = self._tasks.spawn(self._visit(invite, key, entry), name=f"visit {key}")
            self._visits[invite.id] = visit
        self._tasks.spawn(self._tell_answered(), name="invite answered")
        return web.Response()

    def _note_end(self, said: dict[str, Any], visit: asyncio.Task[None] | None) -> None:
        key = InvitedAs(said["session"]["session_id"], self.service_id, said["attempt"])
        if said["reason"] != "replaced":
            self._ledger.session_ended(key.session_id, said["reason"])
        elif self._ledger.is_well(key):
            self._ledger.breaks("nobody well is replaced", f"{key} was told that it is replaced")
        if visit is not None:
            visit.cancel()

    async def _tell_answered(self) -> None:
        await self._happenings.happens("invite answered")

    async def _visit(self, invite: Invite, key: InvitedAs, entry: EntryScript) -> None:
        """Until the session is over, or the service is told so. A connect may fail on a starved machine."""
        while key not in self._ledger.joined:
            await self._stay(invite, key, entry)
            await asyncio.sleep(REPEAT_PAUSE)

    async def _stay(self, invite: Invite, key: InvitedAs, entry: EntryScript) -> None:
        room = rtc.Room()
        acknowledged = asyncio.Event()
        room.on("data_received", lambda packet: _note_ack(packet, invite, acknowledged))
        over, reconnected = asyncio.Event(), asyncio.Event()
        room.on("disconnected", lambda _: over.set())
        room.on("reconnected", reconnected.set)
        try:
            await asyncio.sleep(entry.pause)
            if self.means is Means.JOIN and not self._fails(invite, entry):
                self._ledger.said_ready.add(key)
            await connect(room, invite.server_url, invite.token or "", QUIETLY, CONNECT_TIMEOUT)
            self._ledger.joined.add(key)
            await self._happenings.happens("service joined")
            await asyncio.sleep(entry.pause)
            if self._fails(invite, entry):
                await self._fail(room, key, entry)
                await over.wait()
            while not over.is_set():
                await self._say_ready(room, invite, key, acknowledged)
                await _first(over, reconnected)
                if reconnected.is_set():  # for the manager this may be a new participant, which is not ready yet
                    self._ledger.reconnected.add(key)
                    reconnected.clear()
                    acknowledged.clear()
        except (rtc.ConnectError, TimeoutError):
            return
        finally:
            await disconnect(room)

    @staticmethod
    def _fails(invite: Invite, entry: EntryScript) -> bool:
        return invite.attempt == 1 and entry.failure is not None

    async def _fail(self, room: rtc.Room, key: InvitedAs, entry: EntryScript) -> None:
        """It has failed as soon as the manager sees it: then the visit is cancelled, often before the SDK returns."""
        self._ledger.failed.add(key)
        try:
            if entry.failure is Failure.LEAVES:
                await room.disconnect()
            else:
                await room.local_participant.set_attributes({"session.state": "failed"})
        finally:
            await self._happenings.happens("service failed")

    async def _say_ready(self, room: rtc.Room, invite: Invite, key: InvitedAs, acknowledged: asyncio.Event) -> None:
        self._ledger.said_ready.add(key)
        await self._happenings.happens("ready sent")
        match self.means:
            case Means.RPC:
                self._ledger.ready_is_known(key, await self._say_by_rpc(room, invite))
            case Means.HTTP:
                self._ledger.ready_is_known(key, await self._say_by_http(invite))
            case Means.DATA:
                await self._say_by_data(room, invite, acknowledged)
                self._ledger.ready_is_known(key)
            case Means.ATTRIBUTE:
                await room.local_participant.set_attributes({"session.state": "ready"})
        if self.means not in (Means.JOIN, Means.ATTRIBUTE):
            await self._happenings.happens("ready acknowledged")

    async def _say_by_rpc(self, room: rtc.Room, invite: Invite) -> int:
        while True:
            with suppress(rtc.RpcError):
                answer = await room.local_participant.perform_rpc(
                    destination_identity=_manager_of(room, invite),
                    method=TOPIC,
                    payload='{"type": "ready"}',
                    response_timeout=3,
                    max_round_trip_latency=1,
                )
                return int(json.loads(answer)["revision"])
            await asyncio.sleep(REPEAT_PAUSE)

    async def _say_by_http(self, invite: Invite) -> int:
        """Until it is acknowledged. A session that is over never answers so: its end cancels the visit."""
        path = f"{self.api_url}/api/v1/sessions/{invite.session.session_id}/ready"
        headers = {"Authorization": f"Bearer {invite.token}"}
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                async with self._http.post(path, json={"service_id": self.service_id}, headers=headers) as answer:
                    if answer.status == HTTPStatus.OK:
                        return int((await answer.json())["revision"])
            await asyncio.sleep(REPEAT_PAUSE)

    async def _say_by_data(self, room: rtc.Room, invite: Invite, acknowledged: asyncio.Event) -> None:
        message = json.dumps({"type": "ready", "service_id": self.service_id, "invite_id": invite.id}).encode()
        while not acknowledged.is_set():
            with suppress(PublishDataError):  # while the SDK reconnects
                await room.local_participant.publish_data(
                    message, reliable=True, topic=TOPIC, destination_identities=[_manager_of(room, invite)]
                )
            with suppress(TimeoutError):
                async with asyncio.timeout(REPEAT_PAUSE):
                    await acknowledged.wait()


async def _first(*events: asyncio.Event) -> None:
    """Wait until one of them is set."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()


def _manager_of(room: rtc.Room, invite: Invite) -> str:
    status = RoomStatus.read(room.metadata)
    return (status.manager_identity if status else None) or invite.manager_identity or ""


def _note_ack(packet: rtc.DataPacket, invite: Invite, acknowledged: asyncio.Event) -> None:
    if packet.topic == TOPIC and json.loads(packet.data).get("invite_id") == invite.id:
        acknowledged.set()
