"""The encodings of a batch: newline-delimited JSON, or OTLP in protobuf. PURE."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from http_api.observability.shipping import otlp


@dataclass(frozen=True, slots=True)
class Format:
    name: str
    content_type: str
    path: str
    """The path to post to when the endpoint has none."""
    write: Callable[[Sequence[bytes]], bytes]
    """Encodes records (lines of JSON) as a body. The concatenated bodies of slices are the body of all records. Raises
    Exception for records that can't be encoded in this format."""
    slice: int
    """The number of records encoded at once, small enough to take a fraction of a millisecond."""
    rejected: Callable[[bytes], int]
    """The number of records that a successful response's body reports as refused."""


def _json_lines(lines: Sequence[bytes]) -> bytes:
    return b"\n".join((*lines, b""))


JSON = Format("json", "application/x-ndjson", "/", _json_lines, 500, lambda _: 0)
"""For Vector's http_server source with `decoding.codec: json`."""


def otlp_of(about: Mapping[str, str]) -> Format:
    """OTLP/HTTP, for any OTLP collector and Vector's opentelemetry source. `about`: the resource's attributes."""
    return Format("otlp", "application/x-protobuf", "/v1/logs", partial(otlp.request, about=about), 20, otlp.rejected)
