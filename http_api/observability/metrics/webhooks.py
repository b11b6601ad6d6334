"""Metrics of LiveKit's webhooks: number by event, and lag."""

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
"""The events in LiveKit's documentation (https://docs.livekit.io/home/server/webhooks/)."""
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""LiveKit drops a webhook that it could not deliver for 30 seconds."""


class WebhookMetrics:
    def __init__(self, registry: CollectorRegistry, awaited: AwaitedWebhooks) -> None:
        self._awaited = awaited
        self._received = Counter(
            "session_manager_webhooks_received_total", "LiveKit webhooks received, about any room.",
            ["event"], registry=registry,
        )  # fmt: skip
        self._lag = Histogram(
            "session_manager_webhook_lag_seconds", "Time from the reported event to the webhook's arrival.",
            ["event"], registry=registry, buckets=SECONDS,
        )  # fmt: skip
        for event in (*EVENTS, OTHER):
            self._received.labels(event)

    def arrived(self, webhook: WebhookEvent, at: float) -> None:
        """Count a webhook. `at`: when it arrived, by the wall clock, like LiveKit's own times."""
        event = webhook.event if webhook.event in EVENTS else OTHER
        self._received.labels(event).inc()
        self._awaited.arrived(event, webhook.participant.sid or webhook.room.sid)
        if (happened_at := instant_of(webhook)) is not None:
            self._lag.labels(event).observe(max(0.0, at - happened_at))  # the two clocks may differ


def instant_of(webhook: WebhookEvent) -> float | None:
    """When the reported event happened, as far as known, in seconds since the epoch. PURE.

    `created_at` of a webhook is in whole seconds, rounded down. The event happened no earlier than that, and no earlier
    than the join or the creation of the room that it reports, which are in milliseconds. The latest of these is the
    best estimate.
    """
    in_milliseconds = max(webhook.participant.joined_at_ms, webhook.room.creation_time_ms)
    return max(float(webhook.created_at), in_milliseconds / 1000) or None
