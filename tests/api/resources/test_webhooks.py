"""LiveKit's webhooks over HTTP."""

from __future__ import annotations

import base64
import hashlib
import json
from io import BytesIO

import pytest
from livekit import api as lk

from tests.api.stand_ins import Api

pytestmark = pytest.mark.api


def webhook(room: str, event: str = "participant_joined", **participant: object) -> bytes:
    return json.dumps(
        {"event": event, "room": {"name": room, "sid": f"RM_{room}"}, "participant": participant}
    ).encode()


def signature(body: bytes) -> dict[str, str]:
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    token = lk.AccessToken("devkey", "secret").with_sha256(digest).to_jwt()
    return {"Authorization": token, "Content-Type": "application/webhook+json"}


async def post(api: Api, body: bytes, signed: bytes | None = None) -> int:
    headers = signature(body if signed is None else signed)
    async with api.http.post("/livekit/webhook", data=body, headers=headers) as answer:
        return answer.status


async def test_webhook_reports_a_join_and_other_rooms_are_ignored(api: Api) -> None:
    await api.register("asr-service")
    session_id = (await api.open("asr-service", room_name="demo"))[2]["session_id"]
    await api.livekit.invited.wait()
    identity = api.parts.store.get(session_id).services[0].identity
    assert await post(api, webhook("somewhere else", identity=identity, sid="PA_1")) == 200
    assert not api.parts.store.get(session_id).webhooks_arrive
    assert await post(api, webhook("demo", identity=identity, sid="PA_1")) == 200
    assert api.parts.store.get(session_id).services[0].ready_by == "join"
    large = "x" * 500_000
    assert await post(api, webhook("demo", identity="somebody", sid="PA_2", metadata=large)) == 200


async def test_webhook_may_be_longer_than_other_bodies(api: Api) -> None:
    body = webhook("demo", metadata="x" * 1024 * 1024)
    headers = signature(body)
    async with api.http.post("/livekit/webhook", data=BytesIO(body), headers=headers) as answer:
        assert (answer.status, (await answer.json())["detail"]) == (413, "the body may have at most 1048576 bytes")


async def test_webhook_with_an_altered_body_is_401(api: Api) -> None:
    session_id = (await api.open(room_name="demo"))[2]["session_id"]
    assert await post(api, webhook("demo", "room_finished"), signed=b"{}") == 401
    assert not api.parts.store.get(session_id).over


async def test_unsigned_webhook_is_401(api: Api) -> None:
    for body in (b"", b"rubbish", b"x" * 900_000):
        async with api.http.post("/livekit/webhook", data=body) as answer:
            assert answer.status == 401
