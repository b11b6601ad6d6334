"""The hints of `logs_not_shipped`: what to check after each response of Vector and of an OTLP collector."""

from __future__ import annotations

import pytest

from http_api.observability.shipping.formats import JSON, Format, otlp_of
from http_api.observability.shipping.hints import hint
from http_api.observability.shipping.response_class import CollectorResponse, ResponseClass

pytestmark = pytest.mark.unit

OTLP = otlp_of({})


@pytest.mark.parametrize(
    ("format", "status", "words"),
    [
        (JSON.name, 500, ["file sink", "directory", "Vector's user", "VECTOR_LOG_FORMAT=otlp"]),
        (OTLP.name, 500, ["sink", "VECTOR_LOG_FORMAT=json", "4318"]),
        (JSON.name, 404, ["path", "VECTOR_LOG_FORMAT=otlp"]),
        (OTLP.name, 405, ["path", "VECTOR_LOG_FORMAT=json"]),
        (OTLP.name, 400, ["can't read", "VECTOR_LOG_FORMAT=json"]),
        (JSON.name, 415, ["gzip", "VECTOR_LOG_FORMAT=otlp"]),
        (OTLP.name, 422, ["decompress", "proxy"]),
        (JSON.name, 401, ["user", "password"]),
    ],
)
def test_the_hint_for_a_collector_status_names_what_to_check(format: str, status: int, words: list[str]) -> None:
    text = hint(CollectorResponse.of(status), format)
    assert text is not None
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize("format", [JSON, OTLP], ids=lambda format: format.name)
def test_a_response_that_is_not_http_hints_at_the_grpc_port_and_the_formats(format: Format) -> None:
    text = hint(CollectorResponse(ResponseClass.UNANSWERED, "not answered", is_http=False), format.name) or ""
    words = ["4317", "gRPC", "VECTOR_LOG_FORMAT=json", "http_server", "VECTOR_LOG_FORMAT=otlp", "4318"]
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize("status", [429, 502, 503])
def test_a_collector_that_is_only_busy_has_no_hint(status: int) -> None:
    assert hint(CollectorResponse.of(status), JSON.name) is None
