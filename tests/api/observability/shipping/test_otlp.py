"""Log entries as OTLP, sent to a real OpenTelemetry Collector."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
import structlog

from http_api import VERSION
from http_api.observability import logs
from http_api.observability.shipping.batch import Batch, Bounds
from http_api.observability.shipping.collector import Collector
from http_api.observability.shipping.formats import JSON, Format, otlp_of
from http_api.observability.shipping.hints import hint
from http_api.observability.shipping.shipper import Shipper
from http_api.settings.log_endpoint import LogEndpoint
from tests.otel_collector import OtelCollector

pytestmark = [pytest.mark.api, pytest.mark.timeout(600)]  # where the collector is not built yet

RESOURCE = {"service.name": "ours", "service.version": VERSION, "service.instance.id": "i-1"}
OTLP = otlp_of(RESOURCE)
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def _logging() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers, root.level
    yield
    root.handlers, root.level = before
    logging.captureWarnings(False)
    structlog.reset_defaults()


@pytest.mark.usefixtures("_logging")
async def test_otlp_log_records_arrive_with_their_attributes(otel_collector: OtelCollector) -> None:
    shipper = Shipper(LogEndpoint(otel_collector.endpoint), OTLP, Bounds(linger=0.01))
    logs.configure(dev=False, level="info", secrets=["hush"], stream=io.StringIO(), sinks=[shipper.put])
    with shipper:
        with structlog.contextvars.bound_contextvars(session_id="ses_1", trace_id=TRACE_ID):
            structlog.get_logger("a").info("session_ready", services=["asr", "llm"], ms=12.5, count=3, key="hush")
        logging.getLogger("b").error("theirs %s", 1, extra={"room": "demo"})
        await otel_collector.until(lambda: len(otel_collector.log_records()) == 2)
    ours, theirs = otel_collector.log_records()
    assert ours["body"] == {"stringValue": "session_ready"}
    assert (ours["severityText"], ours["severityNumber"], ours["traceId"]) == ("info", 9, TRACE_ID)
    assert ours["attributes"] == {
        "logger": "a",
        "session_id": "ses_1",
        "services": ["asr", "llm"],
        "ms": 12.5,
        "count": 3,
        "key": "[redacted]",
    }
    assert ours["resource"] == RESOURCE
    assert (theirs["severityText"], theirs["attributes"]) == ("error", {"logger": "b", "room": "demo"})
    assert int(ours["timeUnixNano"]) <= int(theirs["timeUnixNano"])


async def test_otlp_batch_arrives_complete(otel_collector: OtelCollector) -> None:
    shipper = Shipper(LogEndpoint(otel_collector.endpoint), OTLP)
    with shipper:
        for number in range(1_000):
            shipper.put(logs.LogEntry({"event": f"entry {number}", "level": "debug"}))
        await otel_collector.until(lambda: len(otel_collector.log_records()) == 1_000)
    assert [record["body"]["stringValue"] for record in otel_collector.log_records()] == [
        f"entry {number}" for number in range(1_000)
    ]
    assert (shipper.stats.delivered, shipper.stats.batches) == (1_000, 2)


async def test_otel_collector_is_not_mistaken_for_vectors_own_api(otel_collector: OtelCollector) -> None:
    async with Collector(LogEndpoint(otel_collector.endpoint), OTLP) as collector:
        assert await collector.is_vectors_own_api() is False


@pytest.mark.parametrize("format", [JSON, OTLP], ids=["json", "otlp"])
async def test_grpc_port_of_a_collector_is_named_in_the_hint(otel_collector: OtelCollector, format: Format) -> None:
    async with Collector(LogEndpoint(otel_collector.grpc_endpoint), format) as collector:
        response = await collector.send(Batch((b'{"event": "a"}',), 1))
    assert "4317" in (hint(response, format.name) or "")


async def test_json_for_an_otlp_port_is_named_in_the_hint(otel_collector: OtelCollector) -> None:
    async with Collector(LogEndpoint(otel_collector.endpoint), JSON) as collector:
        response = await collector.send(Batch((b'{"event": "a"}',), 1))
    assert "VECTOR_LOG_FORMAT=otlp" in (hint(response, JSON.name) or "")
