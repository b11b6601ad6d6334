"""W3C Trace Context in HTTP headers, https://www.w3.org/TR/trace-context/.

PURE. A caller may send the trace of its request; the requests that we make for it pass the trace on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
"""Names of the headers, and of the fields of an invite."""
SAMPLED, RANDOM = 0x01, 0x02
"""Flags: the trace is recorded; its id is random."""
STATE_MAX = 512
"""Maximum characters of a tracestate that is passed on: what every implementation must pass on."""
MEMBERS_MAX = 32

_FIELDS = r"-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})"
_TRACEPARENT = re.compile(f"00{_FIELDS}")
_LATER_TRACEPARENT = re.compile(f"(?!00|ff)[0-9a-f]{{2}}{_FIELDS}(?:-.*)?")
"""A later version: its additions follow the known fields and are ignored."""
_KEY = r"(?P<key>[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
_MEMBER = re.compile(_KEY + r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The context of a span, to be named as the parent of what it causes."""

    trace_id: str
    """32 lowercase hexadecimal digits, not all zero."""
    span_id: str
    """16 lowercase hexadecimal digits, not all zero."""
    flags: int = 0
    state: str = ""
    """The tracestate: opaque data of tracing systems."""

    @property
    def sampled(self) -> bool:
        """Whether the trace is recorded."""
        return bool(self.flags & SAMPLED)

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a request made in this context."""
        headers = {TRACEPARENT: self.traceparent, TRACESTATE: self.state}
        return {name: value for name, value in headers.items() if value}

    def at(self, span_id: str) -> TraceContext:
        """The context of another span of the same trace, with only the flags known here."""
        return replace(self, span_id=span_id, flags=self.flags & (SAMPLED | RANDOM))


def read_trace(traceparent: str, tracestate: str = "") -> TraceContext | None:
    """Parse the two headers. None unless `traceparent` is of version 00, or of a later version with the same first
    fields. An invalid or too long `tracestate` is dropped."""
    found = _TRACEPARENT.fullmatch(traceparent) or _LATER_TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return None
    trace_id, span_id, flags = found.groups()
    return TraceContext(trace_id, span_id, int(flags, 16), tracestate if _is_state(tracestate) else "")


def trace_in(parents: Sequence[str], states: Sequence[str]) -> TraceContext | None:
    """The context in the headers of a request, given the values of all headers of each name; None unless there is
    exactly one traceparent."""
    return read_trace(parents[0], ",".join(states)) if len(parents) == 1 else None


def _is_state(text: str) -> bool:
    if len(text) > STATE_MAX:
        return False
    members = [_MEMBER.fullmatch(member) for part in text.split(",") if (member := part.strip(" \t"))]
    keys = [member["key"] for member in members if member is not None]
    return len(members) == len(keys) == len(set(keys)) <= MEMBERS_MAX
