"""How a log entry is sent to a collector, and where."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse

from http_api.observability.resource import resource_of
from http_api.observability.shipping.formats import JSON, otlp_of
from http_api.settings.log_endpoint import read_log_endpoint
from http_api.settings.settings import DevSettings
from tests.otel_collector import plain

pytestmark = pytest.mark.unit

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
OTLP = otlp_of({"service.name": "ours", "service.instance.id": "i-1"})
ENTRY = {
    "event": "session_ready",
    "level": "warning",
    "logger": "manager_agent.control.orchestrator",
    "timestamp": "2026-11-25T01:28:18.123456Z",
    "session_id": "ses_1",
}


def line(**more: Any) -> bytes:
    return json.dumps(ENTRY | more).encode()


def record(**more: Any) -> dict[str, Any]:
    """The one record in a request, as protobuf's JSON has it."""
    request = MessageToDict(ExportLogsServiceRequest.FromString(OTLP.write([line(**more)])))
    ((logs,),) = (request["resourceLogs"],)
    assert logs["resource"]["attributes"] == [
        {"key": "service.name", "value": {"stringValue": "ours"}},
        {"key": "service.instance.id", "value": {"stringValue": "i-1"}},
    ]
    (found,) = logs["scopeLogs"][0]["logRecords"]
    assert isinstance(found, dict)
    return found


def attributes(found: dict[str, Any]) -> dict[str, Any]:
    return {attribute["key"]: plain(attribute["value"]) for attribute in found["attributes"]}


def test_json_shipping_sends_each_entry_as_its_log_line() -> None:
    assert JSON.write([b'{"event":"a"}', b'{"event":"b"}']) == b'{"event":"a"}\n{"event":"b"}\n'


def test_otlp_shipping_sends_each_entry_as_a_record_with_attributes() -> None:
    found = record(ms=1.5, count=2**62, ok=True, none=None, roles=["a", 1], nested={"deep": [{"x": None}]})
    assert found["body"] == {"stringValue": "session_ready"}
    assert found["timeUnixNano"] == found["observedTimeUnixNano"] == "1795570098123456000"
    assert (found["severityNumber"], found["severityText"]) == ("SEVERITY_NUMBER_WARN", "warning")
    assert attributes(found) == {
        "logger": "manager_agent.control.orchestrator",
        "session_id": "ses_1",
        "ms": 1.5,
        "count": 2**62,
        "ok": True,
        "none": None,
        "roles": ["a", 1],
        "nested": {"deep": [{"x": None}]},
    }


def test_encoded_slices_join_to_one_body() -> None:
    """JSON joins line by line, protobuf as it is: a repeated field may come in pieces."""
    slices = [[line(number=1), line(number=2)], [line(number=3)]]
    assert b"".join(map(JSON.write, slices)) == JSON.write([*slices[0], *slices[1]])
    request = ExportLogsServiceRequest.FromString(b"".join(map(OTLP.write, slices)))
    assert [len(logs.scope_logs[0].log_records) for logs in request.resource_logs] == [2, 1]


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical"])
def test_every_log_level_has_an_otlp_severity(level: str) -> None:
    assert record(level=level)["severityNumber"] != "SEVERITY_NUMBER_UNSPECIFIED"


def test_an_entry_with_a_trace_id_belongs_to_that_trace() -> None:
    request = ExportLogsServiceRequest.FromString(OTLP.write([line(trace_id=TRACE_ID)]))
    found = request.resource_logs[0].scope_logs[0].log_records[0]
    assert found.trace_id.hex() == TRACE_ID
    assert {attribute.key for attribute in found.attributes} == {"logger", "session_id"}


@pytest.mark.parametrize("no_id", ["", "0" * 32, TRACE_ID[1:], TRACE_ID.upper(), 7, None])
def test_an_invalid_trace_id_stays_an_attribute(no_id: Any) -> None:
    found = record(trace_id=no_id)
    assert "traceId" not in found
    assert attributes(found)["trace_id"] == no_id


def test_an_entry_with_unexpected_field_types_is_shipped() -> None:
    """Other packages may log anything."""
    found = record(level=7, timestamp="yesterday", event={"not": "text"})
    assert (found["severityText"], plain(found["body"])) == ("7", {"not": "text"})
    assert "timeUnixNano" not in found


def test_the_otlp_resource_names_deployment_and_process() -> None:
    about = resource_of(DevSettings(_env_file=None, otel_service_name="ours", deployment="staging"))
    assert (about["service.name"], about["deployment.environment.name"]) == ("ours", "staging")
    assert about == resource_of(DevSettings(_env_file=None, otel_service_name="ours", deployment="staging"))
    assert about["service.version"]
    assert about["service.instance.id"]


def test_records_rejected_by_the_collector_are_counted() -> None:
    answer = ExportLogsServiceResponse()
    assert OTLP.rejected(answer.SerializeToString()) == 0
    answer.partial_success.rejected_log_records = 3
    assert OTLP.rejected(answer.SerializeToString()) == 3
    assert OTLP.rejected(b"\xff no protobuf") == 0
    assert JSON.rejected(answer.SerializeToString()) == 0


@pytest.mark.parametrize(
    ("url", "json_to", "otlp_to"),
    [
        ("http://vector:8686", "http://vector:8686/", "http://vector:8686/v1/logs"),
        ("https://u:p%40ss@vector/", "https://vector/", "https://vector/v1/logs"),
        ("http://[::1]:4318/otlp/v1/logs", "http://[::1]:4318/otlp/v1/logs", "http://[::1]:4318/otlp/v1/logs"),
    ],
)
def test_a_log_endpoint_with_a_path_is_used_as_it_is(url: str, json_to: str, otlp_to: str) -> None:
    endpoint = read_log_endpoint(url)
    assert str(endpoint.post_to(JSON.path)) == json_to
    assert str(endpoint.post_to(OTLP.path)) == otlp_to
    assert endpoint.on_origin("/health").path == "/health"


def test_credentials_of_the_log_endpoint_are_used_and_never_shown() -> None:
    endpoint = read_log_endpoint("https://shipper:p%40ss@vector:8686/logs")
    assert endpoint.credentials == ("shipper", "p@ss")
    assert endpoint.secrets == {"p@ss", "p%40ss"}
    assert str(endpoint) == "https://vector:8686/logs"
    assert "p@ss" not in repr(endpoint) + str(endpoint.post_to("/"))
    assert not read_log_endpoint("http://vector").has_credentials


@pytest.mark.parametrize(
    "url",
    [
        "vector:8686",
        "ws://vector",
        "http://",
        "http://x/?key=hush",
        "http://x/#hush",
        "http://x:99999",
        "ftp://x",
        "http://a%3Ab:hush@x",
    ],
)
def test_an_invalid_log_endpoint_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ValueError, match=r"^must ") as caught:
        read_log_endpoint(url)
    assert "hush" not in str(caught.value)
