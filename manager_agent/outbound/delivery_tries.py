"""One try to deliver an event, and what is logged and counted of its outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import structlog

from manager_agent.clock import Clock
from manager_agent.outbound.deliveries import Delivery, DeliveryState
from manager_agent.outbound.http_client import DeliveryFailed, GuardedHttpClient
from manager_agent.outbound.signing import signed_headers

log = structlog.get_logger()

SigningKeys = Callable[[str], tuple[str, str]]
"""From the name of an owner to the key and secret that sign its callbacks."""


class DeliveryTries:
    def __init__(
        self, http_client: GuardedHttpClient, signing_keys: SigningKeys, *, clock: Clock, livekit_clock: Clock
    ) -> None:
        self.http_client = http_client
        self.finished: Counter[DeliveryState] = Counter()
        """Number of events delivered and given up."""
        self._signing_keys, self._clock, self._livekit_clock = signing_keys, clock, livekit_clock

    async def send(self, begun: Delivery, body: bytes) -> Delivery:
        """Send an event whose try has begun. Returns the delivery after it."""
        try:
            headers = signed_headers(body, *self._signing_keys(begun.owner), at=self._livekit_clock())
            status = await self.http_client.deliver(begun.url, body, headers, owner=begun.owner)
        except DeliveryFailed as error:
            return begun.unanswered(error.refusal or str(error), self._clock())
        except Exception:
            log.exception("callback_fault", id=begun.id)
            return begun.unanswered("an error of this server", self._clock())
        return begun.answered(status, self._clock())

    def note(self, delivery: Delivery) -> None:
        """Count and log what a try came to, or that there is none any more."""
        if delivery.finished_at is not None:
            self.finished[delivery.state] += 1
        about = {"id": delivery.id, "session_id": delivery.session_id, "event_name": delivery.event}
        how = {"host": delivery.host, "status": delivery.last_status, "error": delivery.last_error}
        if delivery.state is DeliveryState.DELIVERED:
            log.info("callback_delivered", tries=delivery.tries, host=delivery.host, **about)
        elif delivery.state is DeliveryState.GIVEN_UP:
            log.warning("callback_given_up", tries=delivery.tries, **how, **about)
        elif delivery.next_try_at is not None:
            log.debug("callback_failed", tries=delivery.tries, **how, **about)
