"""The answers that are kept for requests with an Idempotency-Key, and which requests are still being answered. PURE.

One caller can't push out what another's requests were answered: whoever takes up most loses his oldest answer first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from http_api.errors import IdempotencyConflict, IdempotencyKeyReused

KEPT_FOR = 86_400.0
"""Seconds."""
SIZE_MAX = 32 * 1024 * 1024
"""Bytes of all that is kept: some ten thousand sessions."""
OVERHEAD = 1_024
"""Bytes that an answer takes up beside its body, about."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a key is unique within, and the key."""

    caller: str
    operation: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    status: int
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def size(self) -> int:
        return OVERHEAD + len(self.body)


@dataclass(frozen=True, slots=True)
class _Kept:
    fingerprint: bytes
    answer: KeptAnswer
    until: float


class KeptAnswers:
    def __init__(self, clock: Callable[[], float], size_max: int = SIZE_MAX) -> None:
        self._clock, self._size_max = clock, size_max
        self._running: dict[Place, bytes] = {}
        """The fingerprints of the requests that are being answered."""
        self._kept: dict[str, dict[Place, _Kept]] = {}
        """By caller, the oldest first."""
        self._sizes: dict[str, int] = {}

    @property
    def size(self) -> int:
        """Bytes that are taken up."""
        return sum(self._sizes.values())

    def begin(self, place: Place, fingerprint: bytes) -> KeptAnswer | None:
        """The answer that the same request was given; None if it is new, and to be followed by `finish`. Raises
        IdempotencyKeyReused when the key was sent with another request, IdempotencyConflict while that one runs."""
        self._expire(place.caller)
        kept = self._kept.get(place.caller, {}).get(place)
        known = kept.fingerprint if kept else self._running.get(place)
        if known is None:
            self._running[place] = fingerprint
            return None
        if known != fingerprint:
            raise IdempotencyKeyReused
        if kept is None:
            raise IdempotencyConflict
        return kept.answer

    def finish(self, place: Place, answer: KeptAnswer | None) -> None:
        """Keeps the answer, or with None frees the key."""
        fingerprint = self._running.pop(place)
        if answer is None or answer.size > self._size_max:
            return
        kept = _Kept(fingerprint, answer, self._clock() + KEPT_FOR)
        self._kept.setdefault(place.caller, {})[place] = kept
        self._sizes[place.caller] = self._sizes.get(place.caller, 0) + answer.size
        if self.size > self._size_max:
            for caller in list(self._kept):
                self._expire(caller)
        while self.size > self._size_max:
            self._forget_oldest(max(self._sizes, key=self._sizes.__getitem__))

    def _expire(self, caller: str) -> None:
        while (kept := self._kept.get(caller)) and next(iter(kept.values())).until <= self._clock():
            self._forget_oldest(caller)

    def _forget_oldest(self, caller: str) -> None:
        kept = self._kept[caller]
        self._sizes[caller] -= kept.pop(next(iter(kept))).answer.size
        if not kept:
            del self._kept[caller], self._sizes[caller]
