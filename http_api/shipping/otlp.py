"""Log entries as OTLP: opentelemetry/proto/logs/v1/logs.proto and the service beside it. PURE.

https://opentelemetry.io/docs/specs/otel/logs/data-model/ says what the fields mean.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from http_api import VERSION

SEVERITIES = {
    "debug": SeverityNumber.SEVERITY_NUMBER_DEBUG,
    "info": SeverityNumber.SEVERITY_NUMBER_INFO,
    "warning": SeverityNumber.SEVERITY_NUMBER_WARN,
    "error": SeverityNumber.SEVERITY_NUMBER_ERROR,
    "critical": SeverityNumber.SEVERITY_NUMBER_FATAL,
}
TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")


def request(lines: Sequence[bytes], about: Mapping[str, str]) -> bytes:
    """An ExportLogsServiceRequest with a record for each line. `about`: the resource, who sends them. Raises ValueError
    for what is no JSON."""
    records = [_record(json.loads(line)) for line in lines]
    resource = Resource(attributes=_attributes(about))
    scope = InstrumentationScope(name="http_api.logs", version=VERSION)
    logs = ResourceLogs(resource=resource, scope_logs=[ScopeLogs(scope=scope, log_records=records)])
    return ExportLogsServiceRequest(resource_logs=[logs]).SerializeToString()


def rejected(body: bytes) -> int:
    """The records that were refused, according to an ExportLogsServiceResponse; none where it can't be read."""
    try:
        return max(0, ExportLogsServiceResponse.FromString(body).partial_success.rejected_log_records)
    except DecodeError:
        return 0


def _record(fields: dict[str, Any]) -> LogRecord:
    """What has no place of its own in a record is an attribute, under the name that it has in the log."""
    level, time = str(fields.pop("level", "")), _nanoseconds(str(fields.pop("timestamp", "")))
    trace_id = _trace_id(fields)
    return LogRecord(
        time_unix_nano=time,
        observed_time_unix_nano=time,
        severity_number=SEVERITIES.get(level, SeverityNumber.SEVERITY_NUMBER_UNSPECIFIED),
        severity_text=level,
        body=_value(fields.pop("event", "")),
        attributes=_attributes(fields),
        trace_id=trace_id,
    )


def _trace_id(fields: dict[str, Any]) -> bytes:
    """Taken out of the fields, unless it is none."""
    return bytes.fromhex(fields.pop("trace_id")) if TRACE_ID.fullmatch(str(fields.get("trace_id"))) else b""


def _attributes(fields: Mapping[str, Any]) -> Iterator[KeyValue]:
    return (KeyValue(key=name, value=_value(value)) for name, value in fields.items())


def _value(value: Any) -> AnyValue:
    match value:
        case None:
            return AnyValue()
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case list():
            return AnyValue(array_value=ArrayValue(values=map(_value, value)))
        case dict():
            return AnyValue(kvlist_value=KeyValueList(values=_attributes(value)))
    return AnyValue(string_value=value)


def _nanoseconds(timestamp: str) -> int:
    """Since 1970; 0, which means unknown, for what is no time. The log has microseconds, which a float can't hold."""
    try:
        at = datetime.fromisoformat(timestamp)
    except ValueError:
        return 0
    return int(at.replace(microsecond=0).timestamp()) * 1_000_000_000 + at.microsecond * 1_000
