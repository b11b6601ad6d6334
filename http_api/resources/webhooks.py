"""/livekit/webhook: what LiveKit tells of its rooms. Hints only: they may be lost, late, doubled."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from http import HTTPStatus

import structlog
from aiohttp import web
from google.protobuf.json_format import Parse, ParseError
from livekit import api

from http_api.app_keys import CLOCK, ROOMS, STORE, TASKS
from http_api.errors import MalformedBody, Unauthorized
from http_api.observability.logs.context import bind_session
from http_api.observability.metrics.metrics import METRICS
from http_api.protocol.bodies import read_bytes
from http_api.settings.settings import SETTINGS
from manager_agent.livekit.server_api import seen
from manager_agent.session.events import Event, ParticipantLeft, ParticipantSeen, RoomClosed, WebhookArrived
from manager_agent.session.session import Session

log = structlog.get_logger()

BODY_MAX = 1024 * 1024
"""A participant's metadata (512 KiB) and attributes come along."""
ABORTED = "participant_connection_aborted"
LEFT = frozenset({"participant_left", ABORTED})


async def receive(request: web.Request) -> web.Response:
    """Takes a webhook of LiveKit's: the address to put into its `webhook.urls`.

    200 for every one that is LiveKit's, also when it is about a room of somebody else's. The body is LiveKit's
    `WebhookEvent` as JSON, at most 1 MiB.
    """
    app, settings = request.app, request.app[SETTINGS]
    verifier = api.TokenVerifier(settings.livekit_api_key, settings.livekit_api_secret.get_secret_value())
    digest = signed_digest(request.headers.get("Authorization", ""), verifier)
    webhook = read_webhook(await read_bytes(request, BODY_MAX), digest)
    app[METRICS].webhooks.arrived(webhook, time.time())
    session = app[STORE].in_room(webhook.room.name)
    if session is not None:
        bind_session(request, session)
    log.debug("webhook", event_name=webhook.event, room=webhook.room.name, ours=session is not None)
    if session is not None and is_revenant(webhook, session):
        log.warning("room_came_back", sid=webhook.room.sid)
        app[TASKS].spawn(app[ROOMS].delete(webhook.room.name), name=f"{session.session_id} revenant")
    elif session is not None and is_about(webhook, session):
        for event in events_of(webhook, app[CLOCK]()):
            await app[STORE].update(session.session_id, event)
    return web.Response(status=HTTPStatus.OK)


def signed_digest(authorization: str, verifier: api.TokenVerifier) -> bytes:
    """The SHA-256 of the body, as the signature states it. Raises Unauthorized."""
    try:
        claims = verifier.verify(authorization.removeprefix("Bearer "))
        return base64.b64decode(claims.sha256 or "", validate=True)
    except Exception as error:  # the verifier lets the JWT library's own errors through
        raise Unauthorized("the webhook is not signed with this deployment's LiveKit key") from error


def read_webhook(raw: bytes, digest: bytes) -> api.WebhookEvent:
    """The webhook in the body. Raises Unauthorized unless its SHA-256 is `digest`, MalformedBody."""
    if not hmac.compare_digest(hashlib.sha256(raw).digest(), digest):
        raise Unauthorized("the webhook's body is not the one that was signed")
    try:
        return Parse(raw, api.WebhookEvent(), ignore_unknown_fields=True)
    except (ParseError, UnicodeDecodeError) as error:
        raise MalformedBody("the body is no webhook of LiveKit's") from error


def is_about(webhook: api.WebhookEvent, session: Session) -> bool:
    """False for a webhook about an older room of the same name. While LiveKit has not answered yet which room
    is ours, only that the room has begun can be about it: whoever comes is invited later."""
    if session.room.sid:
        return webhook.room.sid in ("", session.room.sid)
    return webhook.event == "room_started"


def is_revenant(webhook: api.WebhookEvent, session: Session) -> bool:
    """A room of ours that was deleted, and made again by LiveKit for somebody who was joining at that moment: the room
    without manager and services that a late token must not give. It is told by having no metadata."""
    began = webhook.event in ("room_started", "participant_joined")
    return began and session.over and webhook.room.sid != session.room.sid and not webhook.room.metadata


def events_of(webhook: api.WebhookEvent, at: float) -> list[Event]:
    """What a webhook about a session's room says of the session. PURE."""
    events: list[Event] = [WebhookArrived(at)]
    if webhook.event == "participant_joined":
        events.append(ParticipantSeen(at, seen(webhook.participant)))
    elif webhook.event in LEFT:
        gone = webhook.participant
        events.append(ParticipantLeft(at, gone.identity, gone.sid, aborted=webhook.event == ABORTED))
    elif webhook.event == "room_finished":
        events.append(RoomClosed(at, webhook.room.sid, told=True))
    return events
