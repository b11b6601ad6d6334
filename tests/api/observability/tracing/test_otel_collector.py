"""The collector of other tests: it reports what it received, and refuses what is not OTLP."""

from __future__ import annotations

import aiohttp
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from tests.otel_collector import OtelCollector

pytestmark = [pytest.mark.api, pytest.mark.timeout(600)]  # where it is not built yet

PROTOBUF = {"Content-Type": "application/x-protobuf"}
RESOURCE = Resource(attributes=[KeyValue(key="service.name", value=AnyValue(string_value="us"))])
ATTRIBUTES = [
    KeyValue(key="room", value=AnyValue(string_value="demo")),
    KeyValue(key="count", value=AnyValue(int_value=2**62)),
    KeyValue(key="all", value=AnyValue(array_value=ArrayValue(values=[AnyValue(bool_value=True), AnyValue()]))),
]
PLAIN = {"room": "demo", "count": 2**62, "all": [True, None]}


async def post(url: str, body: bytes) -> int:
    async with aiohttp.ClientSession() as http, http.post(url, data=body, headers=PROTOBUF) as answer:
        return answer.status


async def test_collector_reports_the_log_records_it_received(otel_collector: OtelCollector) -> None:
    record = LogRecord(body=AnyValue(string_value="ready"), attributes=ATTRIBUTES)
    logs = ResourceLogs(resource=RESOURCE, scope_logs=[ScopeLogs(log_records=[record])])
    body = ExportLogsServiceRequest(resource_logs=[logs]).SerializeToString()
    assert await post(f"{otel_collector.endpoint}/v1/logs", body) == 200
    await otel_collector.until(lambda: len(otel_collector.printed()) == 1)
    (told,) = otel_collector.log_records()
    assert told["body"] == {"stringValue": "ready"}
    assert (told["attributes"], told["resource"]) == (PLAIN, {"service.name": "us"})
    assert otel_collector.spans() == []


async def test_collector_reports_the_spans_it_received(otel_collector: OtelCollector) -> None:
    span = Span(name="join", trace_id=b"t" * 16, span_id=b"s" * 8, attributes=ATTRIBUTES)
    spans = ResourceSpans(resource=RESOURCE, scope_spans=[ScopeSpans(spans=[span])])
    body = ExportTraceServiceRequest(resource_spans=[spans]).SerializeToString()
    assert await post(f"{otel_collector.endpoint}/v1/traces", body) == 200
    await otel_collector.until(lambda: len(otel_collector.printed()) == 1)
    (told,) = otel_collector.spans()
    assert (told["name"], told["traceId"], told["spanId"]) == ("join", (b"t" * 16).hex(), (b"s" * 8).hex())
    assert (told["attributes"], told["resource"]) == (PLAIN, {"service.name": "us"})
    assert otel_collector.log_records() == []


async def test_collector_refuses_a_body_that_is_not_otlp(otel_collector: OtelCollector) -> None:
    assert await post(f"{otel_collector.endpoint}/v1/logs", b"{}") == 400
