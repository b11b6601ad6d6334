"""/api/v1/callbacks: what callers' own back ends were told of their sessions, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from aiohttp import web

from http_api.access.principals import Principal
from http_api.manager_parts import CALLBACKS
from http_api.models.responses import SessionView, View, answer
from http_api.request_context import PRINCIPAL
from http_api.settings.settings import BadSettings, Settings
from manager_agent.clock import Clock
from manager_agent.messages import rfc3339
from manager_agent.outbound.address_policy import AddressPolicy, AddressRefused
from manager_agent.outbound.callbacks import Callbacks, SigningKeys
from manager_agent.outbound.deliveries import CallbackEvent, Delivery, DeliveryState
from manager_agent.outbound.http_client import GuardedHttpClient
from manager_agent.session.session import Session

PATH = "/api/v1/callbacks"


class CallbackView(View):
    """One event, and what became of it."""

    id: str
    """The same at every try."""
    event: CallbackEvent
    session_id: str
    url: str | None
    """Null for others than the owner of the session: it may have a secret in it."""
    host: str
    created_at: str
    state: DeliveryState
    tries: int
    last_status: int | None
    """What the last try was answered with."""
    last_error: str | None
    """Why there was no answer, or why it is not tried any more."""
    next_try_at: str | None
    """Null while it is being tried, or waits for an earlier event of its session."""
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
            next_try_at=None if delivery.next_try_at is None else rfc3339(delivery.next_try_at),
            finished_at=None if delivery.finished_at is None else rfc3339(delivery.finished_at),
        )


class CallbackList(View):
    callbacks: list[CallbackView]


async def list_all(request: web.Request) -> web.Response:
    """Lists the last 100 events that the caller's own back end was told, or is to be told, newest first.

    With scope `admin` everybody's, without their URLs. An event is `pending` until it is `delivered` or `given_up`.
    """
    principal = request[PRINCIPAL]
    latest = request.app[CALLBACKS].delivery_log.latest(principal.sees)
    return answer(CallbackList(callbacks=[CallbackView.of(delivery, principal) for delivery in latest]))


def callbacks_of(
    settings: Settings, address_policy: AddressPolicy, clock: Clock, signing_keys: SigningKeys
) -> Callbacks:
    """What tells callers' back ends, not started. Raises BadSettings when one of the CALLBACK_URLS could never be
    called."""
    for number, url in enumerate(settings.callback_urls.values(), start=1):
        try:
            address_policy.admit(url.get_secret_value())
        except AddressRefused as refused:
            raise BadSettings(f"CALLBACK_URLS: entry {number}: {refused}") from None
    return Callbacks(http_client=GuardedHttpClient(address_policy), clock=clock, view=_shown, signing_keys=signing_keys)


def _shown(session: Session) -> Mapping[str, Any]:
    return SessionView.of(session).model_dump(mode="json")
