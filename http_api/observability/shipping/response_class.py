"""Classify the collector's response to a batch. PURE.

Vector responds with 400 to a batch with one bad line, with 413 to one that is too large, with 500 when an acknowledging
sink failed, and under backpressure not at all. No content of a batch causes a 5xx, so all of them mean LATER. LATER
includes OTLP's list of retryable responses (https://opentelemetry.io/docs/specs/otlp/#failures-1).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus

RETRY_AFTER_MAX = 60.0
"""Seconds. A longer Retry-After is likely a mistake and is reduced to this."""

UNREADABLE = frozenset({400, 413, 422})
LATER = frozenset({408, 425, 429})
"""Besides every status from 500."""


class ResponseClass(StrEnum):
    TAKEN = "taken"
    REFUSED = "refused"
    """The collector will never accept this batch: it has a bad record or is too large."""
    LATER = "later"
    """The batch is fine and should be sent again later."""
    MISCONFIGURED = "misconfigured"
    """The collector will accept nothing until the configuration is changed."""
    UNANSWERED = "unanswered"


@dataclass(frozen=True, slots=True)
class CollectorResponse:
    response_class: ResponseClass
    why: str = ""
    """Our own text and the status; nothing from the response's body."""
    retry_after: float | None = None
    """Seconds after which the collector asks for a retry."""
    rejected: int = 0
    """Records that were refused although the rest of the batch was accepted."""
    status: int | None = None
    """None: no response."""
    is_http: bool = True
    """False: something other than an HTTP/1.1 response arrived, or the connection was closed without one."""

    @classmethod
    def of(cls, status: int, *, retry_after: float | None = None, rejected: int = 0) -> CollectorResponse:
        return cls(_response_class(status), f"responded with {status}", retry_after, rejected, status)


def _response_class(status: int) -> ResponseClass:
    if 200 <= status < 300:
        return ResponseClass.TAKEN
    if status in UNREADABLE:
        return ResponseClass.REFUSED
    if status in LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ResponseClass.LATER
    return ResponseClass.MISCONFIGURED


VECTORS_OWN_API = CollectorResponse(
    ResponseClass.MISCONFIGURED, "Vector's own API responded, which stores nothing", status=HTTPStatus.OK
)
"""Vector's own API, which is no source, responds with 200 to everything and stores nothing."""


def retry_after(header: str | None, now: float) -> float | None:
    """The seconds until the time in a Retry-After header, which contains seconds or a date (RFC 9110, 10.2.3); at most
    RETRY_AFTER_MAX. None when it is missing or malformed. `now`: seconds since the epoch."""
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
