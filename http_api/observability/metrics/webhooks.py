"""LiveKit's webhooks as they arrive: how many of which kind, and how late."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from http_api.observability.metrics.awaited import AwaitedWebhooks
from http_api.observability.metrics.labels import OTHER
from manager_agent.livekit.webhooks import WebhookEvent

EVENTS = (
    "room_started", "room_finished",
    "participant_joined", "participant_left", "participant_connection_aborted",
    "track_published", "track_unpublished",
    "egress_started", "egress_updated", "egress_ended",
    "ingress_started", "ingress_ended",
)  # fmt: skip
"""Those that LiveKit's documentation lists (https://docs.livekit.io/home/server/webhooks/)."""
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""LiveKit drops what it could not deliver for 30."""


class WebhookMetrics:
    def __init__(self, registry: CollectorRegistry, awaited: AwaitedWebhooks) -> None:
        self._awaited = awaited
        self._received = Counter(
            "session_manager_webhooks_received_total", "Webhooks of LiveKit's, whosever room they are about.",
            ["event"], registry=registry,
        )  # fmt: skip
        self._lag = Histogram(
            "session_manager_webhook_lag_seconds", "From what a webhook tells until it arrived.",
            ["event"], registry=registry, buckets=SECONDS,
        )  # fmt: skip
        for event in (*EVENTS, OTHER):
            self._received.labels(event)

    def arrived(self, webhook: WebhookEvent, at: float) -> None:
        """`at`: by the wall clock, which is what LiveKit goes by."""
        event = webhook.event if webhook.event in EVENTS else OTHER
        self._received.labels(event).inc()
        self._awaited.arrived(event, webhook.participant.sid or webhook.room.sid)
        if (happened_at := instant_of(webhook)) is not None:
            self._lag.labels(event).observe(max(0.0, at - happened_at))  # two clocks never agree


def instant_of(webhook: WebhookEvent) -> float | None:
    """When what it tells of happened, as far as it says, in seconds since the epoch. PURE.

    Webhooks are dated in whole seconds, rounded down. It happened no sooner than that, nor than the join or the making
    of a room which it tells of, and those are dated in milliseconds: the latest of them comes closest.
    """
    in_milliseconds = max(webhook.participant.joined_at_ms, webhook.room.creation_time_ms)
    return max(float(webhook.created_at), in_milliseconds / 1000) or None
