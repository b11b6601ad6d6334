"""How a batch is written: as newline-delimited JSON, or as OTLP in protobuf. PURE."""

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
    """Where it is posted when the endpoint has no path."""
    write: Callable[[Sequence[bytes]], bytes]
    """The body for records that are lines of JSON. Those of several slices, one after the other, are that of all of
    them. Raises Exception for what can't be written in this format."""
    slice: int
    """How many records are written at a time, so that it takes a fraction of a millisecond."""
    rejected: Callable[[bytes], int]
    """How many records were refused, as the body of a good answer has it."""


def _json_lines(lines: Sequence[bytes]) -> bytes:
    return b"\n".join((*lines, b""))


JSON = Format("json", "application/x-ndjson", "/", _json_lines, 500, lambda _: 0)
"""For Vector's http_server source with `decoding.codec: json`."""


def otlp_of(about: Mapping[str, str]) -> Format:
    """For every collector of OTLP/HTTP, and Vector's opentelemetry source. `about`: the resource, who sends."""
    return Format("otlp", "application/x-protobuf", "/v1/logs", partial(otlp.request, about=about), 20, otlp.rejected)
