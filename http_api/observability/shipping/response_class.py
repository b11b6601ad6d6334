"""What the answer to a batch means, whatever is done about it. PURE.

Vector's http_server source answers 400 to a batch with one bad line in it, 413 to one that is too large, 500 when a
sink that acknowledges has failed; backpressure is no answer at all. OTLP has its own list of what may be tried again
(https://opentelemetry.io/docs/specs/otlp/#failures-1), which is that of LATER.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus

RETRY_AFTER_MAX = 60.0
"""Seconds. A collector that asks for more may have meant something else."""

UNREADABLE = frozenset({400, 413, 422})
LATER = frozenset({408, 425, 429, 502, 503, 504})
HINTS = {
    401: "the collector wants a user and a password: https://user:password@host in VECTOR_LOG_ENDPOINT",
    403: "the collector does not let us in",
    404: "is the path in VECTOR_LOG_ENDPOINT that of the source?",
    405: "is the path in VECTOR_LOG_ENDPOINT that of the source?",
    415: "the collector does not know gzip, or VECTOR_LOG_FORMAT is not what it expects",
}


class ResponseClass(StrEnum):
    TAKEN = "taken"
    REFUSED = "refused"
    """There is something in the batch, or too much, that the collector will never take."""
    LATER = "later"
    """Nothing is wrong with the batch."""
    FAILED = "failed"
    """The collector has failed; whether because of the batch can't be told."""
    MISCONFIGURED = "misconfigured"
    """Nothing that is sent there in this way will be taken, until somebody changes something."""
    UNANSWERED = "unanswered"


@dataclass(frozen=True, slots=True)
class CollectorResponse:
    response_class: ResponseClass
    why: str = ""
    """Our own words and the status; nothing that came from there."""
    retry_after: float | None = None
    """Seconds after which the collector wants to be asked again."""
    rejected: int = 0
    """Records that were refused though the rest of the batch was taken."""
    hint: str | None = None

    @classmethod
    def of(cls, status: int, *, retry_after: float | None = None, rejected: int = 0) -> CollectorResponse:
        return cls(_response_class(status), f"answered with {status}", retry_after, rejected, HINTS.get(status))


def _response_class(status: int) -> ResponseClass:
    if 200 <= status < 300:
        return ResponseClass.TAKEN
    if status in UNREADABLE:
        return ResponseClass.REFUSED
    if status in LATER:
        return ResponseClass.LATER
    return ResponseClass.FAILED if status >= HTTPStatus.INTERNAL_SERVER_ERROR else ResponseClass.MISCONFIGURED


def retry_after(header: str | None, now: float) -> float | None:
    """The seconds in a Retry-After header, which has seconds or a date in it (RFC 9110, 10.2.3); at most
    RETRY_AFTER_MAX. None when there is none that can be read. `now`: seconds since 1970."""
    if header is None:
        return None
    try:
        seconds = float(int(header)) if header.isascii() and header.isdigit() else _until(header) - now
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), RETRY_AFTER_MAX)


def _until(date: str) -> float:
    at: datetime = parsedate_to_datetime(date)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
