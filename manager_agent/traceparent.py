"""The place of something in a trace, as HTTP headers carry it: W3C Trace Context, https://www.w3.org/TR/trace-context/.

PURE. Whoever calls us may say which trace his request belongs to; whom we call on its account is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
"""The names of the headers, and of the fields in an invite."""
SAMPLED, RANDOM = 0x01, 0x02
"""Flags: the trace is recorded; its id was made by chance."""
STATE_MAX = 512
"""Characters of a tracestate that is passed on, which is as much as everybody must pass on."""
MEMBERS_MAX = 32

_FIELDS = r"-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})"
_TRACEPARENT = re.compile(f"00{_FIELDS}")
_LATER_TRACEPARENT = re.compile(f"(?!00|ff)[0-9a-f]{{2}}{_FIELDS}(?:-.*)?")
"""Of a later version: what it adds stands after what is known, and means nothing to us."""
_KEY = r"(?P<key>[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
_MEMBER = re.compile(_KEY + r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span: what happens on its account names it as its parent."""

    trace_id: str
    """32 hexadecimal digits, in lower case; not all zero."""
    span_id: str
    """16 of them."""
    flags: int = 0
    state: str = ""
    """The tracestate: what tracing systems keep in the context for themselves. It means nothing to us."""

    @property
    def sampled(self) -> bool:
        """The trace is recorded."""
        return bool(self.flags & SAMPLED)

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"

    @property
    def headers(self) -> dict[str, str]:
        """What a request on its account carries."""
        headers = {TRACEPARENT: self.traceparent, TRACESTATE: self.state}
        return {name: value for name, value in headers.items() if value}

    def at(self, span_id: str) -> TraceContext:
        """Another span of the same trace. Of the flags it has those that are known here."""
        return replace(self, span_id=span_id, flags=self.flags & (SAMPLED | RANDOM))


def read_trace(traceparent: str, tracestate: str = "") -> TraceContext | None:
    """The context that these two say; None unless `traceparent` is one of version 00, or of a later one that begins
    like it. A `tracestate` that is none, or is too long, counts for nothing."""
    found = _TRACEPARENT.fullmatch(traceparent) or _LATER_TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return None
    trace_id, span_id, flags = found.groups()
    return TraceContext(trace_id, span_id, int(flags, 16), tracestate if _is_state(tracestate) else "")


def trace_in(headers: Iterable[tuple[str, str]]) -> TraceContext | None:
    """The context in the headers of a request. Two traceparents are none."""
    sent: Mapping[str, list[str]] = {TRACEPARENT: [], TRACESTATE: []}
    for name, value in headers:
        sent.get(name.lower(), []).append(value)
    if len(sent[TRACEPARENT]) != 1:
        return None
    return read_trace(sent[TRACEPARENT][0], ",".join(sent[TRACESTATE]))


def _is_state(text: str) -> bool:
    if len(text) > STATE_MAX:
        return False
    members = [_MEMBER.fullmatch(member) for part in text.split(",") if (member := part.strip(" \t"))]
    keys = [member["key"] for member in members if member is not None]
    return len(members) == len(keys) == len(set(keys)) <= MEMBERS_MAX
