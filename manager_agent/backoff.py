"""Exponential backoff, with and without jitter. PURE."""

from __future__ import annotations

import zlib

BACKOFF = 0.25
BACKOFF_MAX = 5.0


def backoff(seed: str, tries: int, *, first: float = BACKOFF, most: float = BACKOFF_MAX) -> float:
    """Seconds to wait after `tries` tries: doubling from `first` to `most`, with +-50 % jitter (AWS Architecture Blog,
    "Exponential Backoff And Jitter"). The jitter is derived from the seed, which keeps the function pure."""
    spread = 0.5 + zlib.crc32(f"{seed}/{tries}".encode()) / 0xFFFFFFFF
    return doubling(tries, first=first, most=most) * spread


def doubling(tries: int, *, first: float, most: float) -> float:
    """Seconds to wait after `tries` tries: doubling from `first` to `most`, which is at most `first` * 2**16. For any
    number of tries, although 2.0**1024 overflows."""
    return min(first * 2.0 ** min(tries - 1, 16), most)
