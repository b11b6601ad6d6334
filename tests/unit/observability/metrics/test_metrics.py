"""Metrics: names, labels, and delays."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator

import pytest
from livekit import api
from livekit.protocol import models
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from http_api.observability.metrics.awaited import AWAITED_MAX, GRACE, AwaitedWebhooks
from http_api.observability.metrics.labels import NONE, OTHER, VALUES_MAX, Bounded
from http_api.observability.metrics.loop_lag import INTERVAL, LoopLag
from http_api.observability.metrics.metrics import Metrics
from http_api.observability.metrics.requests import ABORTED, UNKNOWN, RequestMetrics
from http_api.observability.metrics.sessions import ATTEMPT_REASONS, SessionMetrics
from http_api.observability.metrics.webhooks import EVENTS, WebhookMetrics, instant_of
from http_api.resources.metrics import understood
from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.attempt import ServiceReason
from manager_agent.session.change_values import Missable
from manager_agent.session.events import Event, Evidence, Refusal
from manager_agent.session.session import FAILURES, EndReason, Session
from manager_agent.session.transitions import apply
from manager_agent.store.memory import MemoryStore
from manager_agent.store.store import Change
from tests.scraped_metrics import ScrapedMetrics
from tests.unit import sessions as given
from tests.unit.session.test_histories import a_history, by_chance
from tests.unit.sessions import ASR, START
from tests.unit.virtual_time import VirtualTimeLoop, in_virtual_time
from tests.unit.waits import let_others_run

pytestmark = pytest.mark.unit


def shown(registry: CollectorRegistry) -> ScrapedMetrics:
    return ScrapedMetrics(registry.collect())


def session_metrics(registry: CollectorRegistry) -> SessionMetrics:
    return SessionMetrics(registry, Bounded(), Bounded(), AwaitedWebhooks(registry, lambda: START))


# --- labels -----------------------------------------------------------------------------------------


def test_the_number_of_values_of_a_metric_label_is_limited() -> None:
    bounded = Bounded(2)
    assert [bounded.of(value) for value in ("a", "b", "a", "c", "b", "")] == ["a", "b", "a", OTHER, "b", NONE]


def test_invented_types_and_profiles_make_few_metric_series() -> None:
    registry = CollectorRegistry()
    metrics = session_metrics(registry)
    before = len(shown(registry).series)
    for n in range(VALUES_MAX):
        metrics.tell(created_change(invented(n)))
    full = len(shown(registry).series)
    for n in range(VALUES_MAX, VALUES_MAX + 1_000):
        metrics.tell(created_change(invented(n)))
    found = shown(registry)
    assert full > before
    assert len(found.series) - full == (full - before) / VALUES_MAX, "`other`, and nothing else"
    assert found.total("session_manager_sessions_created_total", profile=OTHER) == 1_000
    assert found.total("session_manager_sessions_created_total") == VALUES_MAX + 1_000


def labels(**values: str) -> frozenset[tuple[str, str]]:
    return frozenset(values.items())


def invented(n: int) -> Session:
    service = given.with_instance(given.JOINS, type=f"type {n}")
    return replace(given.a_session(service), owner="acme", profile=f"profile {n}")


def created_change(session: Session) -> Change:
    """Its room is made."""
    *before, made = given.created()
    asked = given.after(session, *before)
    return Change(session.session_id, asked, apply(asked, made), made)


# --- sessions ---------------------------------------------------------------------------------------


def test_metrics_for_alerts_start_at_zero() -> None:
    metrics = Metrics()
    metrics.sessions.expect_type("ASR")
    found = shown(metrics.registry)
    assert found.by("reason", "session_manager_sessions_ended_total") == dict.fromkeys(EndReason, 0.0)
    for end in FAILURES:
        assert found.series["session_manager_sessions_ended_total", labels(state="failed", reason=end)] == 0.0
    for reason in ATTEMPT_REASONS:
        assert found.series["session_manager_service_failures_total", labels(type="ASR", reason=reason)] == 0.0
    for evidence in Evidence:
        assert found.series["session_manager_services_ready_total", labels(type="ASR", evidence=evidence)] == 0.0


async def test_every_attempt_of_a_type_with_a_dead_instance_counts_as_failed() -> None:
    """However often each is invited: alerts use the share of attempts that fail."""
    registry, store = CollectorRegistry(), MemoryStore(lambda: START)
    store.listen(session_metrics(registry).tell)
    for n in range(5):
        await store.add(replace(given.a_session(given.JOINS), session_id=f"s{n}", room_name=f"r{n}", owner="acme"))
        for event in (*given.managed(), *refused_again_and_again(tries=6), ev.DeadlinePassed(START + 60)):
            await store.update(f"s{n}", event)
    found = shown(registry)
    assert found.total("session_manager_service_failures_total", type="ASR", reason="unreachable") == 5
    assert found.total("session_manager_service_attempts_total", type="ASR") == 5
    assert found.total("session_manager_invites_total", type="ASR", outcome="unreachable") == 30


def refused_again_and_again(tries: int) -> Iterator[Event]:
    for nth in range(1, tries + 1):
        yield ev.InviteStarted(START + 8 * nth, ASR, 1, nth, "sm-asr-1", "inv_1")
        yield ev.InviteRefused(START + 8 * nth, ASR, 1, nth, Refusal.UNREACHABLE)


def test_unknown_service_types_take_no_label_value_from_known_ones() -> None:
    registry = CollectorRegistry()
    metrics = session_metrics(registry)
    metrics.expect_type("ASR")
    for n in range(VALUES_MAX + 5):
        metrics.refused(f"invented {n}", ServiceReason.NOT_REGISTERED)
    metrics.refused("ASR", ServiceReason.NO_CAPACITY)
    assert metrics.expect_type("LLM") == "LLM"
    refused = shown(registry).by("type", "session_manager_services_refused_total")
    assert refused == {f"invented {n}": 1.0 for n in range(VALUES_MAX)} | {OTHER: 5, "ASR": 1, "LLM": 0}


@pytest.mark.parametrize("block", range(10))
async def test_session_metrics_agree_with_the_store_at_every_step(block: int) -> None:
    """Several histories at once, interleaved in any order, and purged."""
    chance = random.Random(block)
    registry, store = CollectorRegistry(), MemoryStore(lambda: START)
    store.listen(session_metrics(registry).tell)
    events: dict[str, list[Event]] = {}
    for n in range(4):
        model = a_history(*by_chance(block * 4 + n))
        await store.add(replace(model.past[0], session_id=f"s{n}", room_name=f"r{n}", owner="acme"))
        events[f"s{n}"] = [report.event for report in model.applied]
    whose = [session_id for session_id, its in events.items() for _ in its]
    chance.shuffle(whose)
    now = shown(registry).series
    for session_id in whose:
        await store.update(session_id, events[session_id].pop(0))
        before, now = now, shown(registry).series
        assert store.counts.by_state == Counter(session.state for session in store.list())
        assert all(now[series] >= value for series, value in before.items()), "a counter went down"
        over = sum(session.over for session in store.list())
        assert shown(registry).total("session_manager_sessions_ended_total") == over
        live = store.counts.live - store.counts.in_making
        assert shown(registry).total("session_manager_sessions_created_total") - over == live
        ready = sum(session.ready_at is not None for session in store.list())
        assert shown(registry).total("session_manager_session_time_to_ready_seconds_count") == ready
    for session_id in events:
        await store.remove(session_id)
    assert shown(registry).series == now, "forgetting counted something"
    assert store.counts.by_state.total() == 0


# --- webhooks ---------------------------------------------------------------------------------------


def webhook(
    event: str,
    *,
    created_at: int = 0,
    joined_at_ms: int = 0,
    creation_time_ms: int = 0,
    room_sid: str = "",
    participant_sid: str = "",
) -> api.WebhookEvent:
    return api.WebhookEvent(
        event=event,
        created_at=created_at,
        room=models.Room(sid=room_sid, creation_time_ms=creation_time_ms),
        participant=models.ParticipantInfo(sid=participant_sid, joined_at_ms=joined_at_ms),
    )


@pytest.mark.parametrize(
    ("hook", "instant"),
    [
        (webhook("room_finished", created_at=100, creation_time_ms=5_000), 100.0),
        (webhook("room_started", created_at=100, creation_time_ms=100_250), 100.25),
        (webhook("participant_joined", created_at=100, joined_at_ms=100_250, creation_time_ms=90_000), 100.25),
        (webhook("participant_joined", created_at=101, joined_at_ms=100_950), 101.0),
        (webhook("participant_left", created_at=100, joined_at_ms=5_250), 100.0),
        (webhook("track_published"), None),
    ],
)
def test_the_time_of_a_webhook_is_read_as_precisely_as_possible(hook: api.WebhookEvent, instant: float | None) -> None:
    assert instant_of(hook) == instant


def test_webhooks_are_counted_by_event_and_timed() -> None:
    registry = CollectorRegistry()
    metrics = WebhookMetrics(registry, AwaitedWebhooks(registry, lambda: START))
    received, lag = "session_manager_webhooks_received_total", "session_manager_webhook_lag_seconds"
    assert shown(registry).by("event", received) == dict.fromkeys((*EVENTS, OTHER), 0.0)
    metrics.arrived(webhook("participant_joined", created_at=100, joined_at_ms=100_250), 100.5)
    metrics.arrived(webhook("participant_joined", created_at=100, joined_at_ms=100_250), 99.0)
    metrics.arrived(webhook("track_published"), 99.0)
    metrics.arrived(webhook("something_new", created_at=100), 103.0)
    found = shown(registry)
    counted = {event: count for event, count in found.by("event", received).items() if count}
    assert counted == {"participant_joined": 2, "track_published": 1, OTHER: 1}
    # One seems to come before it happened, as their clock is ahead of ours; and one says nothing of when.
    assert found.by("event", f"{lag}_sum") == {"participant_joined": 0.25, OTHER: 3.0}
    assert found.by("event", f"{lag}_count") == {"participant_joined": 2, OTHER: 1}


class AwaitedWebhooksInVirtualTime:
    """Webhooks that are awaited, with a clock that the test sets."""

    def __init__(self) -> None:
        self.now = START
        self.registry = CollectorRegistry()
        self.awaited = AwaitedWebhooks(self.registry, lambda: self.now)
        self.webhooks = WebhookMetrics(self.registry, self.awaited)

    @property
    def missed(self) -> dict[str, float]:
        found = shown(self.registry).by("event", "session_manager_webhooks_missed_total")
        return {event: count for event, count in found.items() if count}


def test_a_webhook_that_arrives_late_within_bounds_is_not_missed() -> None:
    """A listing is often some milliseconds faster than the webhook."""
    watch = AwaitedWebhooksInVirtualTime()
    watch.awaited.expect(Missable.ROOM_FINISHED, "RM_1")
    watch.awaited.expect(Missable.PARTICIPANT_JOINED, "PA_1")
    for sid in ("PA_2", "PA_3"):
        watch.awaited.expect(Missable.PARTICIPANT_LEFT, sid)
    watch.now += GRACE - 0.1
    watch.webhooks.arrived(webhook("room_finished", room_sid="RM_1"), watch.now)
    watch.webhooks.arrived(webhook("participant_joined", room_sid="RM_1", participant_sid="PA_1"), watch.now)
    watch.webhooks.arrived(webhook("participant_left", room_sid="RM_1", participant_sid="PA_2"), watch.now)
    watch.webhooks.arrived(webhook("participant_connection_aborted", participant_sid="PA_3"), watch.now)
    watch.now += 60
    assert watch.missed == {}


def test_a_webhook_that_is_too_late_or_different_is_counted_as_missed_once() -> None:
    watch = AwaitedWebhooksInVirtualTime()
    watch.awaited.expect(Missable.ROOM_FINISHED, "RM_1")
    watch.awaited.expect(Missable.PARTICIPANT_LEFT, "PA_1")
    watch.awaited.expect(Missable.PARTICIPANT_LEFT, "PA_2")
    watch.webhooks.arrived(webhook("room_finished", room_sid="RM_2"), watch.now)
    watch.webhooks.arrived(webhook("participant_joined", participant_sid="PA_1"), watch.now)
    assert watch.missed == {}
    watch.now += GRACE
    watch.webhooks.arrived(webhook("participant_left", participant_sid="PA_2"), watch.now)
    for _ in range(2):
        assert watch.missed == {"room_finished": 1, "participant_left": 2}


def test_without_webhooks_only_a_limited_number_is_awaited() -> None:
    watch = AwaitedWebhooksInVirtualTime()
    for n in range(AWAITED_MAX + 3):
        watch.awaited.expect(Missable.ROOM_FINISHED, f"RM_{n}")
    assert watch.missed == {"room_finished": 3}


# --- requests, and the loop they wait for -----------------------------------------------------------


def test_requests_are_counted_by_operation_and_unknown_routes_as_one() -> None:
    registry = CollectorRegistry()
    metrics = RequestMetrics(registry)
    metrics.expect(["not_ready", "not_found"])
    metrics.answered("sessions_create", 504, "not_ready", 30.0)
    metrics.answered("sessions_create", None, None, 0.5)
    for _ in range(2):
        metrics.answered(None, 404, "not_found", 0.001)
    found = shown(registry)
    requests = "session_manager_http_requests_total"
    assert found.by("operation", requests) == {"sessions_create": 2, UNKNOWN: 2}
    assert found.by("status", requests) == {"504": 1, ABORTED: 1, "404": 2}
    assert found.by("problem", "session_manager_http_problems_total") == {"not_ready": 1, "not_found": 2}
    assert found.by("operation", "session_manager_http_request_duration_seconds_sum")["sessions_create"] == 30.5


@in_virtual_time
async def test_a_blocked_event_loop_shows_in_the_lag_metric() -> None:
    """The loop's clock jumps by two seconds in which nothing could run."""
    loop, late = asyncio.get_running_loop(), asyncio.Queue[float]()
    assert isinstance(loop, VirtualTimeLoop)
    lag = LoopLag(late.put_nowait)
    await lag.start()
    await let_others_run()
    loop.now += INTERVAL + 2.0
    first = await late.get()
    await lag.aclose()
    assert 1.5 < first < 2.5


# --- how it is shown --------------------------------------------------------------------------------

PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;"
    "q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "begins"),
    [
        ("", "text/plain; version=0.0.4"),
        ("*/*", "text/plain; version=0.0.4"),
        ("text/html", "text/plain; version=0.0.4"),
        (PROMETHEUS_3, "application/openmetrics-text; version=1.0.0"),
        ("application/openmetrics-text", "application/openmetrics-text; version=1.0.0"),
        ("text/plain;version=0.0.4;q=0.3", "text/plain; version=0.0.4"),
        ("application/openmetrics-text;version=one", "text/plain; version=0.0.4"),
        ("application/openmetrics-text; version=1.0.0x", "text/plain; version=0.0.4"),
        ("application/openmetrics-text;version=2.\udcff", "text/plain; version=0.0.4"),
        ("application/openmetrics-text;version=1.0.0;version=x", "application/openmetrics-text; version=1.0.0"),
        ("text/plain;version=x, application/openmetrics-text;version=1.0.0", "application/openmetrics-text"),
        (";;;,,=,version=", "text/plain; version=0.0.4"),
    ],
)
def test_metrics_are_served_in_the_accepted_format_or_as_plain_text(accept: str, begins: str) -> None:
    encode, content_type = choose_encoder(understood(accept))
    assert content_type.startswith(begins)
    assert encode(Metrics().registry)


def test_each_application_has_its_own_metrics() -> None:
    one, another = Metrics(), Metrics()
    one.sessions.tell(created_change(replace(given.a_session(given.JOINS), owner="acme")))
    assert shown(one.registry).total("session_manager_sessions_created_total") == 1
    assert shown(another.registry).total("session_manager_sessions_created_total") == 0


def test_metric_names_follow_the_conventions_of_prometheus() -> None:
    """Counters end in _total, and times are in seconds."""
    for family in Metrics().registry.collect():
        if family.name.startswith("session_manager_"):
            assert family.type in ("counter", "histogram", "info"), family
            assert family.name.endswith("_seconds") == (family.type == "histogram"), family
            assert family.documentation.endswith("."), family
