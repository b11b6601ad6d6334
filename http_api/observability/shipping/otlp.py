"""Encode log entries as OTLP: opentelemetry/proto/logs/v1/logs.proto and its collector service. PURE.

The meaning of the fields: https://opentelemetry.io/docs/specs/otel/logs/data-model/
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber

from http_api import VERSION

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

    Attributes = RepeatedCompositeFieldContainer[KeyValue]

SEVERITIES = {
    "debug": SeverityNumber.SEVERITY_NUMBER_DEBUG,
    "info": SeverityNumber.SEVERITY_NUMBER_INFO,
    "warning": SeverityNumber.SEVERITY_NUMBER_WARN,
    "error": SeverityNumber.SEVERITY_NUMBER_ERROR,
    "critical": SeverityNumber.SEVERITY_NUMBER_FATAL,
}
TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")


def request(lines: Sequence[bytes], about: Mapping[str, str]) -> bytes:
    """An ExportLogsServiceRequest with one record per line. `about`: the resource's attributes. Raises ValueError for
    lines that are not JSON, and for values that protobuf can't represent.

    The messages are filled in place, because assigning one to another copies it, and HTTP requests may wait for this.
    """
    export = ExportLogsServiceRequest()
    of_resource = export.resource_logs.add()
    _add(of_resource.resource.attributes, about)
    of_scope = of_resource.scope_logs.add()
    of_scope.scope.name, of_scope.scope.version = "http_api.logs", VERSION
    for line in lines:
        _fill(of_scope.log_records.add(), json.loads(line))
    return export.SerializeToString()


def rejected(body: bytes) -> int:
    """The number of refused records in an ExportLogsServiceResponse; 0 if it can't be parsed."""
    try:
        return max(0, ExportLogsServiceResponse.FromString(body).partial_success.rejected_log_records)
    except DecodeError:
        return 0


def _fill(record: LogRecord, fields: dict[str, Any]) -> None:
    """Fill the record. Fields without a counterpart in OTLP become attributes with the same name."""
    level, time = str(fields.pop("level", "")), _nanoseconds(str(fields.pop("timestamp", "")))
    record.time_unix_nano = record.observed_time_unix_nano = time
    record.severity_number = SEVERITIES.get(level, SeverityNumber.SEVERITY_NUMBER_UNSPECIFIED)
    record.severity_text = level
    record.trace_id = _trace_id(fields)
    _set(record.body, fields.pop("event", ""))
    _add(record.attributes, fields)


def _trace_id(fields: dict[str, Any]) -> bytes:
    """Remove the trace id from the fields and return it; empty, and left in place, if it is not valid."""
    return bytes.fromhex(fields.pop("trace_id")) if TRACE_ID.fullmatch(str(fields.get("trace_id"))) else b""


def _add(attributes: Attributes, fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        _set(attributes.add(key=name).value, value)


def _set(target: AnyValue, value: Any) -> None:
    if isinstance(value, str):
        target.string_value = value
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int):
        target.int_value = value
    elif isinstance(value, float):
        target.double_value = value
    elif isinstance(value, list):
        target.array_value.SetInParent()  # for empty lists
        for item in value:
            _set(target.array_value.values.add(), item)
    elif isinstance(value, dict):
        target.kvlist_value.SetInParent()
        _add(target.kvlist_value.values, value)
    else:
        target.SetInParent()  # null: a value of no type


def _nanoseconds(timestamp: str) -> int:
    """Nanoseconds since the epoch; 0 (unknown) for an invalid timestamp. Integer arithmetic, because a float can't hold
    the log's microseconds exactly."""
    try:
        at = datetime.fromisoformat(timestamp)
    except ValueError:
        return 0
    return int(at.replace(microsecond=0).timestamp()) * 1_000_000_000 + at.microsecond * 1_000
