"""/livekit/webhook: LiveKit's webhooks about rooms. Hints only: they may be lost, late or duplicated."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import structlog
from aiohttp import web

from http_api.app_keys import ACTING, CLOCK, ROOMS, STORE, TASKS
from http_api.observability.logs.context import bind_session
from http_api.observability.metrics.metrics import METRICS
from http_api.protocol.bodies import read_bytes
from http_api.replica import caught_up
from http_api.settings.settings import SETTINGS
from manager_agent.livekit.listed_room import ListedRoom
from manager_agent.livekit.participants import participant_of
from manager_agent.livekit.webhooks import SIZE_MAX, WebhookEvent, events_of, is_about, read_webhook, signed_digest

log = structlog.get_logger()

TURNS_OF_OTHERS = 2
"""Turns of the event loop for which a webhook waits. LiveKit sends `room_started` at the moment at which it answers
that the room is made, and a client waits for that: one turn to read LiveKit's answer, one to answer the client."""


async def receive(request: web.Request) -> web.Response:
    """Receive a LiveKit webhook.

    Configure this address in LiveKit's `webhook.urls`. The response is 200 to every webhook signed by LiveKit,
    including those about rooms of other applications. The body is LiveKit's `WebhookEvent` as JSON, at most 1 MiB.
    """
    for _ in range(TURNS_OF_OTHERS):
        await asyncio.sleep(0)
    app, settings = request.app, request.app[SETTINGS]
    key, secret = settings.livekit_api_key, settings.livekit_api_secret.get_secret_value()
    now = app[ROOMS].livekit_clock()
    digest = signed_digest(request.headers.get("Authorization", ""), key, secret, now)
    webhook = read_webhook(await read_bytes(request, SIZE_MAX), digest)
    app[METRICS].webhooks.arrived(webhook, now)
    if app[ACTING].is_superseded:
        return web.Response(status=HTTPStatus.OK)
    await caught_up(app)
    session = app[STORE].in_room(webhook.room.name)
    if session is not None:
        bind_session(request, session)
    log.debug("webhook", event_name=webhook.event, room=webhook.room.name, ours=session is not None)
    if session is not None and is_about(webhook, session):
        for event in events_of(webhook, app[CLOCK]()):
            await app[STORE].update(session.session_id, event)
    elif webhook.event == "participant_joined":
        _remove_old_token_holder(app, webhook)
    return web.Response(status=HTTPStatus.OK)


def _remove_old_token_holder(app: web.Application, webhook: WebhookEvent) -> None:
    """Remove a participant that entered a room of no session here with a token of an earlier session."""
    room, seen = ListedRoom.of(webhook.room, app[SETTINGS].deployment), participant_of(webhook.participant)
    if app[ROOMS].tokens.has_old_token(room, seen):
        log.warning("old_token_holder_removed", room=room.name, sid=room.sid, identity=seen.identity)
        app[TASKS].spawn(app[ROOMS].remove(room.name, seen.identity, seen.sid), name=f"remove {seen.sid}")
