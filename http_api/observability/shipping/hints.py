"""What an operator should check after a response of the collector. PURE.

Vector's http_server source responds with 404 or 405 to another path, and with 500 when a sink failed. Its opentelemetry
source responds with 400 to protobuf that it can't read, with 422 to bad gzip, and with 500 to another path, method or
content type, and when a sink failed.
"""

from __future__ import annotations

from http_api.observability.shipping.response_class import VECTORS_OWN_API, CollectorResponse

_SINK = (
    "a sink of the collector failed, and the collector's own log says which; Vector's file sink needs a directory that "
    "exists and belongs to Vector's user, see deploy/vector.yaml"
)
_PATH = "check that the path in VECTOR_LOG_ENDPOINT is that of the source"
_SOURCE = {
    "json": "VECTOR_LOG_FORMAT=json is for the port of Vector's http_server source; the HTTP port of an OTLP receiver, "
    "usually 4318, needs VECTOR_LOG_FORMAT=otlp",
    "otlp": "VECTOR_LOG_FORMAT=otlp is for the HTTP port of an OTLP receiver, usually 4318; Vector's http_server "
    "source needs VECTOR_LOG_FORMAT=json",
}
_NO_HTTP = "this may not be an HTTP port; 4317 is OTLP's port for gRPC, which is not supported"

_OWN_API = (
    "this is Vector's own API, which responds with 200 to everything and stores nothing; "
    "set VECTOR_LOG_ENDPOINT to the address of an http_server source, see deploy/vector.yaml"
)


def hint(response: CollectorResponse, format: str) -> str | None:
    """What to check, if anything is known about such a response. `format`: the name of the format of the batch."""
    source = _SOURCE[format]
    if not response.is_http:
        return f"{_NO_HTTP}: {source}"
    if response == VECTORS_OWN_API:
        return _OWN_API
    match response.status:
        case 400:
            return f"the collector can't read the batch: {source}"
        case 401:
            return "the collector requires a user and a password: https://user:password@host in VECTOR_LOG_ENDPOINT"
        case 403:
            return "the collector denied access"
        case 404 | 405:
            return f"{_PATH}; {source}"
        case 415:
            return f"the collector does not support gzip, or expects another format: {source}"
        case 422:
            return "the collector can't decompress the batch: a proxy on the way may have changed it"
        case 500:
            return f"{_SINK}; or the port is another source's: {source}"
    return None
