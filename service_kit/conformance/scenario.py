"""One session of a check: a room with a fake manager in it, and the messages to the service about it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from livekit import api

from manager_agent.messages import (
    Evidence,
    Invite,
    InvitedSession,
    RoomStatus,
    ServiceMessage,
    SessionEndedMessage,
    SessionState,
    Signal,
)
from service_kit.conformance.fake_manager import FakeManager
from service_kit.conformance.harness import DECLINED, Harness
from service_kit.conformance.report import Broken


class Scenario:
    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self._mark = uuid4().hex[:12]
        self._name = f"check-{self._mark}"
        """The room's name and the session's id."""
        self.identity = f"sm-{harness.options.service_id}-1-{self._mark}"
        self.fake_manager = FakeManager(self.identity, invites=f"inv_{self._mark}")
        self._managers = 0

    def __repr__(self) -> str:
        return f"<Scenario in {self._name}>"

    @property
    def manager(self) -> str:
        """The identity of the manager in charge."""
        return f"sm-manager-{self._managers}-{self._mark}"

    def invite(self, *, deadline: float = 30.0, number: int = 1) -> Invite:
        """An invite into this room with `deadline` seconds to become ready. Each `number` is another invite."""
        options = self.harness.options
        return Invite(
            id=f"inv_{self._mark}_{number}",
            createdAt=str(int(time.time())),
            session=InvitedSession(
                session_id=self._name, room_name=self._name, user_identity="check-user", metadata={"check": True}
            ),
            service_id=options.service_id,
            attempt=1,
            identity=self.identity,
            token=self._token(self.identity),
            server_url=options.livekit,
            manager_identity=self.manager,
            ready_on=options.ready_on,
            ready_deadline=datetime.now(UTC) + timedelta(seconds=deadline),
        )

    def session_ended(self, invite: Invite, reason: str = "closed") -> SessionEndedMessage:
        return session_ended(invite, reason)

    async def invites(self) -> Invite:
        """Post an invite that must be accepted. Raises Broken."""
        invite = self.invite()
        await self.must_accept(invite)
        return invite

    async def must_accept(self, invite: Invite | bytes) -> None:
        """Raises Broken."""
        status = await self.harness.post(invite)
        if status in DECLINED:
            raise Broken(f"declined the invite with {status}")
        if not 200 <= status < 300:
            hint = {
                401: " (--key, --secret?)",
                403: " (--key, --secret?)",
                404: " (the path?)",
                422: " (--service-id?)",
            }
            raise Broken(f"answered the invite with {status}{hint.get(status, '')}")

    async def must_join(self) -> None:
        """Raises Broken."""
        limit, began = self.harness.options.timeouts.join, time.monotonic()
        if not await self.fake_manager.until(lambda: bool(self.fake_manager.sids), limit):
            raise Broken(f"accepted, but did not join within {limit:g} s")
        self.harness.joined_after(time.monotonic() - began)

    async def must_leave(self, what: str) -> None:
        """Raises Broken."""
        limit = self.harness.options.timeouts.leave
        if not await self.fake_manager.until(lambda: not self.fake_manager.is_there, limit):
            raise Broken(f"{what}, and was still in the room {limit:g} s later")

    async def open(self) -> None:
        """Create the room, and join it as the manager."""
        self._next_manager()
        request = api.CreateRoomRequest(name=self._name, metadata=self._status(), empty_timeout=60)
        await self.harness.livekit.room.create_room(request)
        await self._enter()

    async def replace_manager(self) -> None:
        """Replace the manager by one with another identity. The room's metadata names it before it joins."""
        await self.fake_manager.leave()
        self._next_manager()
        status = api.UpdateRoomMetadataRequest(room=self._name, metadata=self._status())
        await self.harness.livekit.room.update_room_metadata(status)
        await self._enter()

    async def aclose(self) -> None:
        with suppress(Broken):  # the session is over, whatever the service answers
            await self.harness.post(self.session_ended(self.invite()))
        with suppress(api.ServerError):
            await self.harness.livekit.room.delete_room(api.DeleteRoomRequest(room=self._name))
        await self.fake_manager.leave()

    def on_http(self, session_id: str, token: str) -> bool:
        """A `POST .../ready`; whether it is acknowledged."""
        try:
            claims = api.TokenVerifier(self.harness.options.livekit_key, self.harness.options.livekit_secret).verify(
                token
            )
        except Exception:  # the verifier lets the JWT library's own errors through
            return False
        if session_id != self._name or claims.identity != self.identity:
            return False
        return self.fake_manager.take(ServiceMessage(type=Signal.READY), Evidence.HTTP)

    async def _enter(self) -> None:
        await self.fake_manager.enter(
            self.manager, self.harness.options.livekit, self._token(self.manager, hidden=True)
        )

    def _next_manager(self) -> None:
        self._managers += 1

    def _status(self) -> str:
        return RoomStatus(
            session_id=self._name,
            state=SessionState.WAITING,
            services=[],
            manager_identity=self.manager,
            revision=self._managers,
        ).model_dump_json()

    def _token(self, identity: str, *, hidden: bool = False) -> str:
        grants = api.VideoGrants(room_join=True, room=self._name, hidden=hidden, can_update_own_metadata=True)
        token = api.AccessToken(self.harness.options.livekit_key, self.harness.options.livekit_secret)
        return token.with_identity(identity).with_kind("agent").with_grants(grants).to_jwt()


def session_ended(invite: Invite, reason: str = "closed") -> SessionEndedMessage:
    """The message that tells the service of this invite that its session is over."""
    told = invite.model_dump(include={"createdAt", "session", "service_id", "attempt", "identity"})
    return SessionEndedMessage(id=f"{invite.id}_end", reason=reason, **told)


@asynccontextmanager
async def scenario(harness: Harness) -> AsyncIterator[Scenario]:
    """A session with its manager in the room; ended, and its room deleted, on leaving. Raises Unable."""
    playing = Scenario(harness)
    try:
        await playing.open()
        harness.http_ready = playing.on_http
        yield playing
    finally:
        harness.http_ready = None
        await playing.aclose()
