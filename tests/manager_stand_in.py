"""The manager as a service sees it over HTTP: the API of the conformance kit, and posts of signed messages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import aiohttp
from pydantic import SecretStr

from manager_agent.messages import Invite, InvitedSession, ReadyOn, SessionEndedMessage
from manager_agent.outbound.signing import signed_headers
from service_kit import ServiceSettings
from service_kit.conformance.fake_api import FakeApi
from tests.waiting import waiting_for

KEY, SECRET = "invite-key", "invite-secret-of-thirty-two-bytes-or-more"


class ManagerStandIn(FakeApi):
    """Signs what it posts with KEY and SECRET."""

    async def __aenter__(self) -> Self:
        self.http = aiohttp.ClientSession()
        return await super().__aenter__()

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()
        await super().__aexit__()

    def settings(self, **more: Any) -> ServiceSettings:
        """Those of a service that belongs to this manager."""
        secret = SecretStr(SECRET)
        return ServiceSettings(
            _env_file=None, session_manager_url=self.url, invite_api_key=KEY, invite_api_secret=secret, **more
        )

    async def until(self, wanted: Callable[[], bool]) -> None:
        """Wait until the condition holds, checked after each call of a service."""
        async with waiting_for("the calls of a service", lambda: self), self.news:
            await self.news.wait_for(wanted)

    async def post(
        self, endpoint: str, message: Invite | SessionEndedMessage | bytes, authorization: str | None = None
    ) -> int:
        """Sends a message, signed unless told otherwise; the status of the answer."""
        body = message if isinstance(message, bytes) else message.model_dump_json().encode()
        headers = signed_headers(body, KEY, SECRET)
        if authorization is not None:
            headers["Authorization"] = authorization
        async with self.http.post(endpoint, data=body, headers=headers) as answer:
            return answer.status


def invite(service_id: str = "asr-service", *, id: str = "inv_1", **more: Any) -> Invite:
    """An invite to a room that does not exist, unless `more` says better."""
    fields: dict[str, Any] = {
        "id": id,
        "createdAt": "1766400000",
        "session": invited_session(),
        "service_id": service_id,
        "attempt": 1,
        "identity": f"sm-{service_id}-1",
        "token": "a.join.token",
        "server_url": "ws://127.0.0.1:1",
        "manager_identity": "sm-manager-1",
        "ready_on": ReadyOn.SIGNAL,
        "ready_deadline": datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=30),
    }
    return Invite(**fields | more)


def invited_session(session_id: str = "session-1", room_name: str = "room-1", **metadata: Any) -> InvitedSession:
    return InvitedSession(session_id=session_id, room_name=room_name, user_identity="alice", metadata=metadata)
