"""Shipping log entries to a collector over real connections: delivery, drops, and reports."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from livekit import api
from prometheus_client import generate_latest

from http_api.access.api_keys import new_key
from http_api.app import create_app
from http_api.observability import logs
from http_api.observability.exit_budget import ExitBudget
from http_api.observability.logs import LogEntry
from http_api.observability.logs.redaction import REDACTED
from http_api.observability.metrics.metrics import METRICS
from http_api.observability.shipping.batch import Batch, Bounds, Dropped
from http_api.observability.shipping.collector import Collector
from http_api.observability.shipping.formats import JSON, Format, otlp_of
from http_api.observability.shipping.hints import hint
from http_api.observability.shipping.log_shipper import SHIPPER, Off
from http_api.observability.shipping.shipper import Shipper
from http_api.observability.sinks import LogSinks
from http_api.settings.log_endpoint import LogEndpoint
from http_api.settings.settings import DevSettings
from tests import vector_stand_in
from tests.api.stand_ins import LiveKit, StartApi, stand_ins
from tests.byte_proxy import reset
from tests.vector_stand_in import NESTING_MAX, Behavior, VectorStandIn
from tests.waiting import described, waiting_for

pytestmark = pytest.mark.api

SOON = Bounds(linger=0.01)
SECRET = "a-secret-of-the-settings"


@pytest.fixture
async def vector() -> AsyncIterator[VectorStandIn]:
    async with VectorStandIn() as vector:
        yield vector


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """The log of the process as JSON lines, with the entries of the test's shipper."""
    stream, root = io.StringIO(), logging.getLogger()
    before = root.handlers, root.level
    logs.configure(dev=False, level="info", secrets=[SECRET], stream=stream)
    yield stream
    root.handlers, root.level = before
    logging.captureWarnings(False)
    structlog.reset_defaults()


@asynccontextmanager
async def shipping(
    endpoint: str | LogEndpoint,
    format: Format = JSON,
    bounds: Bounds = SOON,
    timeout: float = 60.0,
    exit_budget: ExitBudget | None = None,
) -> AsyncIterator[Shipper]:
    """A shipper that has shipped what it can at the end."""
    endpoint = LogEndpoint(endpoint) if isinstance(endpoint, str) else endpoint
    shipper = Shipper(endpoint, format, bounds, timeout, exit_budget)
    shipper.__enter__()
    try:
        yield shipper
    finally:
        await asyncio.to_thread(shipper.__exit__)  # it waits, and the collector is on this loop


def put(shipper: Shipper, *names: str, **more: Any) -> None:
    for name in names:
        shipper.put(LogEntry({"event": name, "level": "info", "timestamp": "2026-11-25T01:28:18.123456Z", **more}))


def numbered(first: int, end: int) -> list[str]:
    return [f"entry {number}" for number in range(first, end)]


async def until(holds: Callable[[], bool], seen: Callable[[], object]) -> None:
    """Poll: what goes on in the shipper's thread causes no event here."""
    async with waiting_for(described(holds), seen):
        while not holds():
            await asyncio.sleep(0.01)


async def until_said(stream: io.StringIO, event: str, times: int = 1) -> None:
    """Return once the process has logged this event so often."""
    await until(lambda: len(said(stream, event)) >= times, stream.getvalue)


def said(stream: io.StringIO, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    return [line for line in lines if line["event"] == event]


async def test_log_entries_arrive_in_order_in_batches(vector: VectorStandIn) -> None:
    async with shipping(vector.url, bounds=Bounds()) as shipper:
        put(shipper, *numbered(0, 1_200))
        await vector.until(lambda: len(vector.events) >= 1_000)  # full batches don't wait for their second
    assert vector.names == numbered(0, 1_200)
    stats = shipper.stats
    assert (stats.delivered, stats.queued_records, stats.batches, stats.tries) == (1_200, 0, 3, 3)
    assert not any(stats.dropped.values())


async def test_log_entries_keep_all_their_fields(vector: VectorStandIn) -> None:
    async with shipping(vector.url) as shipper:
        put(shipper, "ünï \u2028 😀\n", nested={"a": [1, None, {"b": 1.5}]}, big=2**63 - 1)
    assert vector.events == [
        {
            "event": "ünï \u2028 😀\n",
            "level": "info",
            "timestamp": "2026-11-25T01:28:18.123456Z",
            "nested": {"a": [1, None, {"b": 1.5}]},
            "big": 2**63 - 1,
        }
    ]


async def test_shipper_sends_the_credentials_of_its_endpoint(logged: io.StringIO) -> None:
    async with VectorStandIn(path="/logs", authorization="Basic c2hpcHBlcjpodXNoIQ==") as vector:
        url = f"http://shipper:hush%21@127.0.0.1:{vector.port}/logs"
        async with shipping(url) as shipper:
            put(shipper, "a")
        assert vector.names == ["a"]
        vector.behavior = vector_stand_in.answering(401)
        async with shipping(url) as shipper:
            put(shipper, "b")
            await until_said(logged, "logs_not_shipped")
    assert said(logged, "logs_not_shipped")[0]["endpoint"] == f"{vector.url}/logs"
    assert "hush" not in logged.getvalue()


@pytest.mark.parametrize("number", [1, 500])
async def test_rejected_entry_is_dropped_and_its_batch_arrives(
    vector: VectorStandIn, logged: io.StringIO, number: int
) -> None:
    """The redactor would flatten such a value, so this entry bypasses it."""
    nested = json.loads("[" * (NESTING_MAX + 1) + "]" * (NESTING_MAX + 1))
    async with shipping(vector.url) as shipper:
        release = await hold_back(vector, shipper)
        names = numbered(0, number)
        put(shipper, *names[: number // 3])
        put(shipper, "bad", nested=nested)
        put(shipper, *names[number // 3 :])
        vector.behavior = vector_stand_in.well
        release.set()
        await until_said(logged, "logs_not_shipped")
    assert vector.names == ["first", *names]
    assert shipper.stats.dropped[Dropped.REFUSED] == 1
    assert said(logged, "logs_not_shipped")[0]["dropped"] == {"refused": 1}
    assert vector.statuses.count(400) <= 10


async def hold_back(vector: VectorStandIn, shipper: Shipper) -> asyncio.Event:
    """Hold one entry under way, so that those put now are sent later and together; set the event to let it go on."""
    arrived, release = asyncio.Event(), asyncio.Event()

    async def wait(_: object) -> None:
        arrived.set()
        await release.wait()

    vector.behavior = wait
    put(shipper, "first")
    await arrived.wait()
    return release


async def test_oversized_batch_is_halved_until_accepted(logged: io.StringIO) -> None:
    async with VectorStandIn(body_max=300) as vector, shipping(vector.url) as shipper:
        put(shipper, *(f"{number} {number**100:x}" for number in range(20)))
        put(shipper, "".join(chr(0x4E00 + number * 7) for number in range(500)))
        await until(lambda: shipper.stats.queued_records == 0, lambda: shipper.stats)
        assert (shipper.stats.delivered, shipper.stats.dropped[Dropped.REFUSED]) == (20, 1)
        assert 413 in vector.statuses


@pytest.mark.parametrize(
    "trouble",
    [
        vector_stand_in.hang,
        vector_stand_in.reset,
        vector_stand_in.drip,
        vector_stand_in.answering(500),
        vector_stand_in.answering(429, Retry_After="0"),
    ],
)
async def test_entries_arrive_once_a_failing_collector_recovers(
    vector: VectorStandIn, logged: io.StringIO, trouble: Behavior
) -> None:
    vector.behavior = trouble
    async with shipping(vector.url, timeout=0.2) as shipper:
        put(shipper, "a", "b")
        await until_said(logged, "logs_not_shipped")
        put(shipper, "c")
        vector.behavior = vector_stand_in.well
        await until_said(logged, "logs_shipped_again")
    # On a slow machine a batch that was taken in may time out as well, and is sent again.
    assert list(dict.fromkeys(vector.names)) == ["a", "b", "c"]
    assert shipper.stats.delivered == 3


async def test_newest_ten_thousand_entries_arrive_after_an_outage(vector: VectorStandIn) -> None:
    """The collector does not listen, and more is logged than is kept."""
    await vector.stop()
    async with shipping(vector.url) as shipper:
        put(shipper, *numbered(0, 3))
        await until(lambda: shipper.stats.tries >= 2, lambda: shipper.stats)
        put(shipper, *numbered(3, 12_000))
        await vector.start()
        await vector.until(lambda: len(vector.events) == 10_000)
    assert vector.names == numbered(2_000, 12_000)
    assert shipper.stats.dropped[Dropped.OVERFLOW] == 2_000


async def test_entries_are_kept_while_a_sink_fails_and_there_is_room(
    vector: VectorStandIn, logged: io.StringIO
) -> None:
    """Vector responds with 500 to every batch until its sink works again."""
    vector.behavior = vector_stand_in.answering(500, Retry_After="0")
    async with shipping(vector.url, bounds=Bounds(linger=0.01, batch_records=1)) as shipper:
        put(shipper, *numbered(0, 3))
        await until_said(logged, "logs_not_shipped")
        assert "directory" in said(logged, "logs_not_shipped")[0]["hint"]
        vector.behavior = vector_stand_in.well
        await vector.until(lambda: vector.names == numbered(0, 3))
    assert not any(shipper.stats.dropped.values())


async def test_every_entry_is_counted_that_a_failing_sink_leaves_at_exit(
    vector: VectorStandIn, logged: io.StringIO
) -> None:
    """However often it was tried."""
    vector.behavior = vector_stand_in.answering(500)
    async with shipping(vector.url, bounds=Bounds(linger=0.01, batch_records=2)) as shipper:
        put(shipper, *numbered(0, 9))
        await vector.until(lambda: vector.requests >= 1)
    assert said(logged, "logs_lost_at_exit")[0]["count"] == shipper.stats.dropped[Dropped.AT_EXIT] == 9


async def test_shipper_does_not_follow_redirects(vector: VectorStandIn, logged: io.StringIO) -> None:
    async with VectorStandIn() as elsewhere:
        vector.behavior = vector_stand_in.answering(307, Location=f"{elsewhere.url}/")
        async with shipping(vector.url) as shipper:
            put(shipper, "a")
            await until_said(logged, "logs_not_shipped")
        assert elsewhere.requests == 0
    assert said(logged, "logs_not_shipped")[0]["why"] == "responded with 307"


async def test_queued_entries_are_shipped_at_exit(vector: VectorStandIn) -> None:
    """Without waiting for the linger time or the pause after a failure."""
    vector.behavior = vector_stand_in.answering(503, Retry_After="60")
    async with shipping(vector.url) as shipper:
        put(shipper, "a")
        await vector.until(lambda: vector.statuses == [503])
        vector.behavior = vector_stand_in.well
        put(shipper, "b")
    assert vector.names == ["a", "b"]


@pytest.mark.parametrize(
    "trouble",
    [
        vector_stand_in.hang,
        vector_stand_in.drip,
        vector_stand_in.reset,
        vector_stand_in.slow(30),
        vector_stand_in.answering(503),
    ],
)
async def test_exit_does_not_wait_for_a_failing_collector(
    vector: VectorStandIn, logged: io.StringIO, trouble: Behavior
) -> None:
    vector.behavior = trouble
    async with waiting_for("the shipper to give up", lambda: vector), shipping(vector.url) as shipper:
        put(shipper, "a")
        await vector.until(lambda: vector.requests >= 1)
    assert shipper.stats.dropped[Dropped.AT_EXIT] == 1
    (warning,) = said(logged, "logs_lost_at_exit")
    assert warning["count"] == 1


async def test_exhausted_exit_budget_ships_nothing(vector: VectorStandIn, logged: io.StringIO) -> None:
    """Not even for a healthy collector."""
    async with shipping(vector.url, bounds=Bounds(), exit_budget=ExitBudget(0.0)) as shipper:
        put(shipper, "a")
    assert (said(logged, "logs_lost_at_exit")[0]["count"], vector.names) == (1, [])


async def test_entry_after_exit_is_only_counted(vector: VectorStandIn) -> None:
    async with shipping(vector.url) as shipper:
        put(shipper, "a")
    put(shipper, "b")
    assert vector.names == ["a"]
    assert shipper.stats.dropped[Dropped.AT_EXIT] == 1


@dataclass(frozen=True, slots=True)
class FaultyEndpoint(LogEndpoint):
    """Raises unexpected errors: once when the shipper begins, and once when it logs a failure."""

    faults: list[str] = field(default_factory=lambda: ["begins", "tells"])

    @property
    def has_credentials(self) -> bool:
        self._fail_once("begins")
        return False

    def __str__(self) -> str:
        self._fail_once("tells")
        return self.url

    def _fail_once(self, when: str) -> None:
        if when in self.faults:
            self.faults.remove(when)
            raise ZeroDivisionError(when)


async def test_shipper_logs_its_own_fault_and_goes_on(vector: VectorStandIn, logged: io.StringIO) -> None:
    vector.behavior = vector_stand_in.answering(503)
    async with shipping(FaultyEndpoint(vector.url)) as shipper:
        put(shipper, "a", "b")
        await until_said(logged, "log_shipper_failed", times=2)
        vector.behavior = vector_stand_in.well
        await vector.until(lambda: vector.names == ["a", "b"])
    assert ["ZeroDivisionError" in line["exception"] for line in said(logged, "log_shipper_failed")] == [True, True]
    assert (shipper.stats.delivered, sum(shipper.stats.dropped.values())) == (2, 0)


async def test_vectors_own_api_is_reported_and_gets_no_entries(logged: io.StringIO) -> None:
    async with VectorStandIn(is_own_api=True) as own_api, shipping(own_api.url) as shipper:
        put(shipper, "a")
        await until_said(logged, "logs_not_shipped")
        assert (shipper.stats.delivered, shipper.stats.queued_records) == (0, 1)
    (warning,) = said(logged, "logs_not_shipped")
    assert "Vector's own API" in warning["why"]
    assert "http_server" in warning["hint"]
    assert said(logged, "logs_lost_at_exit")[0]["count"] == 1


@pytest.mark.parametrize(
    "behavior", [vector_stand_in.well, vector_stand_in.answering(200), vector_stand_in.answering(404)]
)
async def test_other_collectors_are_not_mistaken_for_vectors_own_api(
    vector: VectorStandIn, logged: io.StringIO, behavior: Behavior
) -> None:
    endpoint = LogEndpoint(vector.url)
    vector.behavior = behavior
    async with Collector(endpoint, JSON) as collector:
        assert await collector.is_vectors_own_api() is False
    await vector.stop()
    async with Collector(endpoint, JSON) as collector:
        assert await collector.is_vectors_own_api() is None


async def test_port_that_resets_the_connection_is_hinted_not_to_be_for_http() -> None:
    """As a gRPC server may do with a request in HTTP/1.1."""

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reset(writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    endpoint = LogEndpoint(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with server, Collector(endpoint, JSON) as collector:
        response = await collector.send(Batch((b'{"event": "a"}',), 1))
    assert response.why == "not answered: ClientOSError"
    assert "4317" in (hint(response, JSON.name) or "")


async def test_healthy_vector_is_asked_for_its_ping_only_and_once(vector: VectorStandIn) -> None:
    """Any other GET makes it log an error."""
    bounds, patient = Bounds(linger=0.01, batch_records=1), ExitBudget(60.0)  # a busy machine needs more than 2 s
    async with shipping(vector.url, bounds=bounds, exit_budget=patient) as shipper:
        put(shipper, "a", "b")
    assert (vector.looks, vector.names) == (["/ping"], ["a", "b"])


async def test_entries_wait_until_vector_has_its_source_back(vector: VectorStandIn, logged: io.StringIO) -> None:
    """Vector restarts without its source, so that its API listens on the port of the source, and then with it."""
    async with shipping(vector.url) as shipper:
        put(shipper, "a")
        await vector.until(lambda: vector.names == ["a"])
        vector.behavior = vector_stand_in.answering(503)
        put(shipper, "b")
        await vector.until(lambda: vector.statuses == [200, 503])
        vector.behavior, vector.is_own_api = vector_stand_in.well, True
        await until_said(logged, "logs_not_shipped")
        assert "Vector's own API" in said(logged, "logs_not_shipped")[0]["why"]
        assert said(logged, "logs_shipped_again") == []
        assert (shipper.stats.delivered, shipper.stats.queued_records) == (1, 1)
        vector.is_own_api = False
    assert vector.names == ["a", "b"]
    assert len(said(logged, "logs_shipped_again")) == 1


async def test_shipper_ships_its_own_log_lines_without_a_loop(vector: VectorStandIn, logged: io.StringIO) -> None:
    vector.behavior = vector_stand_in.answering(503)
    async with shipping(vector.url) as shipper:
        logs.configure(dev=False, level="debug", secrets=[], stream=logged, sinks=[shipper.put])
        structlog.get_logger().info("a")
        await until_said(logged, "logs_not_shipped")
        vector.behavior = vector_stand_in.well
        await vector.until(lambda: "logs_shipped_again" in vector.names)
    assert vector.names == ["a", "logs_not_shipped", "logs_shipped_again"]


async def test_shipped_entries_contain_no_secret(vector: VectorStandIn, logged: io.StringIO) -> None:
    token = api.AccessToken("key", "x" * 32).with_identity("alice").to_jwt()
    key = new_key()
    async with shipping(vector.url) as shipper:
        logs.configure(dev=False, level="info", secrets=[SECRET], stream=logged, sinks=[shipper.put])
        structlog.get_logger().info("a", token=token, nested={"key": [key]}, secret=SECRET)
        logging.getLogger("theirs").warning("%s %s %s", token, key, SECRET)
    shipped = json.dumps(vector.events)
    assert (len(vector.events), shipped.count(REDACTED)) == (2, 6)
    assert not any(secret in shipped for secret in (token, key, SECRET))


async def test_entry_that_can_not_be_encoded_is_dropped_alone(vector: VectorStandIn) -> None:
    vector.behavior = vector_stand_in.answering(200)
    async with shipping(vector.url, otlp_of({})) as shipper:
        put(shipper, "a")
        put(shipper, "bad", number=2**70)
        put(shipper, "b")
        await until(lambda: shipper.stats.queued_records == 0, lambda: shipper.stats)
    assert (shipper.stats.delivered, shipper.stats.dropped[Dropped.REFUSED]) == (2, 1)


async def test_application_exposes_the_shippers_statistics(start_api: StartApi, vector: VectorStandIn) -> None:
    """Even when nothing is shipped."""
    assert (await start_api()).app[SHIPPER].stats == Off().stats
    async with shipping(vector.url) as shipper:
        put(shipper, "a")
    settings = DevSettings(_env_file=None)
    parts, _ = stand_ins(settings, LiveKit(), LogSinks(shipper=shipper))
    app = create_app(parts)
    assert app[SHIPPER].stats.delivered == 1
    shown = generate_latest(app[METRICS].registry).decode()
    assert "session_manager_log_records_delivered_total 1.0" in shown


def test_disabled_shipper_accepts_entries() -> None:
    with Off() as off:
        off.put(LogEntry({"event": "a"}))
    assert (off.stats.queued_records, off.stats.delivered, sum(off.stats.dropped.values())) == (0, 0, 0)
