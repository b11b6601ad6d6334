"""Verifies LiveKit's webhooks and translates them into session events. They may be lost, late or sent twice."""

from __future__ import annotations

import base64
import hashlib
import hmac

from google.protobuf.json_format import Parse, ParseError
from livekit.protocol.webhook import WebhookEvent as WebhookEvent

from manager_agent.dated_claims import verified_claims
from manager_agent.livekit.participants import may_be_replaced, participant_of
from manager_agent.session.events import Event, ParticipantLeft, ParticipantSeen, RoomClosed, WebhookArrived
from manager_agent.session.session import Session
from manager_agent.store.room_names import LEEWAY

ABORTED = "participant_connection_aborted"
LEFT = frozenset({"participant_left", ABORTED})
SIZE_MAX = 1024 * 1024
"""Bytes. A webhook includes a participant's metadata (up to 512 KiB) and attributes."""


class UnsignedWebhook(Exception):
    """The webhook is not signed with this deployment's LiveKit key, or its body was changed."""


class UnreadableWebhook(Exception):
    """The signed body is not a webhook of LiveKit."""


def signed_digest(authorization: str, api_key: str, api_secret: str, now: float) -> bytes:
    """The SHA-256 of the body according to the signature. `now`: LiveKit's time. Raises UnsignedWebhook."""
    token = authorization.removeprefix("Bearer ")
    try:
        claims = verified_claims(token, api_secret, ["HS256"], now=now, leeway=LEEWAY, require=["exp"], issuer=api_key)
        return base64.b64decode(claims.get("sha256", ""), validate=True)
    except Exception as error:  # the JWT library lets errors of the JSON parser through
        raise UnsignedWebhook("the webhook is not signed with this deployment's LiveKit key") from error


def read_webhook(raw: bytes, digest: bytes) -> WebhookEvent:
    """Parse the body. Raises UnsignedWebhook if its SHA-256 is not `digest`, UnreadableWebhook."""
    if not hmac.compare_digest(hashlib.sha256(raw).digest(), digest):
        raise UnsignedWebhook("the webhook's body does not match its signature")
    try:
        return Parse(raw, WebhookEvent(), ignore_unknown_fields=True)
    except (ParseError, UnicodeDecodeError) as error:
        raise UnreadableWebhook("the body is not a LiveKit webhook") from error


def is_about(webhook: WebhookEvent, session: Session) -> bool:
    """Whether the webhook is about the session's room, not about an older room of the same name. Before LiveKit has
    returned the room's sid, only `room_started` can be: participants are invited later."""
    if session.room.sid:
        return webhook.room.sid in ("", session.room.sid)
    return webhook.event == "room_started"


def events_of(webhook: WebhookEvent, at: float) -> list[Event]:
    """The session events of a webhook about the session's room."""
    events: list[Event] = [WebhookArrived(at)]
    if webhook.event == "participant_joined":
        events.append(ParticipantSeen(at, participant_of(webhook.participant)))
    elif webhook.event in LEFT:
        gone, is_aborted = webhook.participant, webhook.event == ABORTED
        replaced = may_be_replaced(gone.disconnect_reason)
        events.append(ParticipantLeft(at, gone.identity, gone.sid, aborted=is_aborted, replaced=replaced))
    elif webhook.event == "room_finished":
        events.append(RoomClosed(at, webhook.room.sid))
    return events
