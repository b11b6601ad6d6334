"""LiveKit's webhooks: only signed ones are read, and which session events they become."""

from __future__ import annotations

import base64
import hashlib
import time

import pytest
from google.protobuf.json_format import MessageToJson
from livekit import api
from livekit.protocol import models

from manager_agent.frozen import replace
from manager_agent.livekit.webhooks import (
    UnreadableWebhook,
    UnsignedWebhook,
    events_of,
    is_about,
    read_webhook,
    signed_digest,
)
from manager_agent.session.events import (
    Event,
    ParticipantInfo,
    ParticipantLeft,
    ParticipantSeen,
    RoomClosed,
    WebhookArrived,
)
from manager_agent.session.room import Room
from manager_agent.session.session import Session, User

pytestmark = pytest.mark.unit

KEY, SECRET = "devkey", "secret"
AT = 1_000.0
ALICE = models.ParticipantInfo(identity="alice", sid="PA_1", joined_at_ms=7, attributes={"a": "b"})


Reason = models.DisconnectReason


def gone(reason: models.DisconnectReason) -> models.ParticipantInfo:
    return models.ParticipantInfo(identity="alice", sid="PA_1", disconnect_reason=reason)


def signature(body: bytes, secret: str = SECRET) -> str:
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    return api.AccessToken(KEY, secret).with_sha256(digest).to_jwt()


def webhook(event: str, participant: models.ParticipantInfo | None = None) -> api.WebhookEvent:
    return api.WebhookEvent(event=event, room=models.Room(name="demo", sid="RM_1"), participant=participant)


@pytest.mark.parametrize(
    ("hook", "further"),
    [
        (webhook("room_started"), []),
        (webhook("track_published", ALICE), []),
        (webhook("something_new"), []),
        (
            webhook("participant_joined", ALICE),
            [ParticipantSeen(AT, ParticipantInfo("alice", "PA_1", 7, False, {"a": "b"}))],
        ),
        (webhook("participant_left", gone(Reason.CLIENT_INITIATED)), [ParticipantLeft(AT, "alice", "PA_1")]),
        (
            webhook("participant_left", gone(Reason.DUPLICATE_IDENTITY)),
            [ParticipantLeft(AT, "alice", "PA_1", replaced=True)],
        ),
        (webhook("participant_left", ALICE), [ParticipantLeft(AT, "alice", "PA_1")]),
        (webhook("participant_connection_aborted", ALICE), [ParticipantLeft(AT, "alice", "PA_1", aborted=True)]),
        (webhook("room_finished"), [RoomClosed(AT, "RM_1")]),
    ],
)
def test_each_webhook_becomes_its_session_event(hook: api.WebhookEvent, further: list[Event]) -> None:
    assert events_of(hook, AT) == [WebhookArrived(AT), *further]


def test_unknown_fields_of_a_signed_webhook_are_ignored() -> None:
    body = MessageToJson(webhook("room_started")).replace("{", '{"new": 1,', 1).encode()
    assert read_webhook(body, signed_digest(signature(body), KEY, SECRET, time.time())).room.name == "demo"


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "x.y.z", signature(b"{}", secret="other"), api.AccessToken(KEY, SECRET).to_jwt() + "x"],
)
def test_a_webhook_without_a_valid_signature_is_refused(authorization: str) -> None:
    with pytest.raises(UnsignedWebhook):
        signed_digest(authorization, KEY, SECRET, time.time())


@pytest.mark.parametrize("digest", [b"", hashlib.sha256(b"other").digest()])
def test_a_webhook_with_another_body_than_the_signed_one_is_refused(digest: bytes) -> None:
    with pytest.raises(UnsignedWebhook):
        read_webhook(b"{}", digest)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"room": 7}', b"[" * 5_000])
def test_a_signed_body_that_is_not_a_webhook_is_malformed(body: bytes) -> None:
    with pytest.raises(UnreadableWebhook):
        read_webhook(body, hashlib.sha256(body).digest())


def test_a_webhook_about_an_earlier_room_of_the_name_is_ignored() -> None:
    session = Session("ses_1", "demo", User("alice"), AT)
    assert is_about(webhook("room_started"), session)  # its sid is not known yet
    assert is_about(webhook("room_started"), replace(session, room=Room(sid="RM_1")))
    assert not is_about(webhook("room_finished"), replace(session, room=Room(sid="RM_2")))
