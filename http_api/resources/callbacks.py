"""/api/v1/callbacks: the deliveries of session events to callers' back ends, and their outcomes."""

from __future__ import annotations

from typing import Self

from aiohttp import web

from http_api.access.principals import Principal
from http_api.app_keys import CALLBACKS
from http_api.models.responses import View, answer, rfc3339_or_none
from http_api.request_context import PRINCIPAL
from manager_agent.messages import rfc3339
from manager_agent.outbound.deliveries import CallbackEvent, Delivery, DeliveryState

PATH = "/api/v1/callbacks"


class CallbackView(View):
    """The delivery of one event."""

    id: str
    """Stays the same over retries."""
    event: CallbackEvent
    session_id: str
    url: str | None
    """Null unless the caller owns the session: the URL may contain a secret."""
    host: str
    created_at: str
    state: DeliveryState
    tries: int
    last_status: int | None
    """The HTTP status of the response to the last try."""
    last_error: str | None
    """Why there was no response, or why there will be no further try."""
    next_try_at: str | None
    """Null while a try is in progress, and while it waits for an earlier event of the same session."""
    finished_at: str | None

    @classmethod
    def of(cls, delivery: Delivery, principal: Principal) -> Self:
        return cls(
            id=delivery.id,
            event=delivery.event,
            session_id=delivery.session_id,
            url=delivery.url if principal.owns(delivery.owner) else None,
            host=delivery.host,
            created_at=rfc3339(delivery.created_at),
            state=delivery.state,
            tries=delivery.tries,
            last_status=delivery.last_status,
            last_error=delivery.last_error,
            next_try_at=rfc3339_or_none(delivery.next_try_at),
            finished_at=rfc3339_or_none(delivery.finished_at),
        )


class CallbackList(View):
    callbacks: list[CallbackView]


async def list_all(request: web.Request) -> web.Response:
    """List callbacks.

    The last 100 events that were posted, or are to be posted, to the caller's back end, newest first. With scope
    `admin` the events of all callers, without the URLs of others. An event is `pending` until it is `delivered` or
    `given_up`.
    """
    principal = request[PRINCIPAL]
    latest = request.app[CALLBACKS].delivery_log.latest(principal.sees)
    return answer(CallbackList(callbacks=[CallbackView.of(delivery, principal) for delivery in latest]))
