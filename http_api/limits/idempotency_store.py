"""The stored responses to requests with an Idempotency-Key, and which of these requests are in progress. PURE.

When the store is full, the caller that uses the most space loses its oldest response first, so that one caller can't
evict the responses of another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from http_api.errors import IdempotencyConflict, IdempotencyKeyReused

KEPT_FOR = 86_400.0
"""Seconds."""
SIZE_MAX = 32 * 1024 * 1024
"""The maximum size of the store in bytes: responses for some ten thousand sessions."""
OVERHEAD = 1_024
"""The approximate size of a response without its body, in bytes."""


@dataclass(frozen=True, slots=True)
class IdempotencyScope:
    """A key with the scope in which it is unique: caller and operation."""

    principal: str
    operation: str
    key: str = field(repr=False)

    @property
    def digest(self) -> str:
        """Names it where it is kept: the key itself may be of any length and content."""
        return hashlib.sha256("\0".join((self.principal, self.operation, self.key)).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    status: int
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def size(self) -> int:
        return OVERHEAD + len(self.body)


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """A request with its response."""

    fingerprint: bytes
    """The SHA-256 of its body."""
    answer: StoredAnswer
    until: float
    """When it is forgotten."""


Keeper = Callable[[IdempotencyScope, StoredRequest | None], None]
"""Called with each request that is stored, and with None for one that is forgotten."""


class IdempotencyStore:
    def __init__(self, clock: Callable[[], float], size_max: int = SIZE_MAX) -> None:
        self._clock, self._size_max = clock, size_max
        self._running: dict[IdempotencyScope, bytes] = {}
        """The fingerprints of the requests in progress."""
        self._kept: dict[str, dict[IdempotencyScope, StoredRequest]] = {}
        """By caller, oldest first."""
        self._sizes: dict[str, int] = {}
        self._keeper: Keeper = _keep_nothing

    def keep_with(self, keeper: Keeper) -> None:
        self._keeper = keeper

    @property
    def size(self) -> int:
        """The size of all stored responses in bytes."""
        return sum(self._sizes.values())

    def begin(self, scope: IdempotencyScope, fingerprint: bytes) -> StoredAnswer | None:
        """The stored response to the same request; None if the request is new: call `finish` after it. Raises
        IdempotencyKeyReused when the key was used for a different request, and IdempotencyConflict while the same
        request is in progress."""
        self._expire(scope.principal)
        kept = self._kept.get(scope.principal, {}).get(scope)
        known = kept.fingerprint if kept else self._running.get(scope)
        if known is None:
            self._running[scope] = fingerprint
            return None
        if known != fingerprint:
            raise IdempotencyKeyReused
        if kept is None:
            raise IdempotencyConflict
        return kept.answer

    def finish(self, scope: IdempotencyScope, answer: StoredAnswer | None) -> None:
        """Store the response, or with None release the key."""
        fingerprint = self._running.pop(scope)
        if answer is None or answer.size > self._size_max:
            return
        stored = StoredRequest(fingerprint, answer, self._clock() + KEPT_FOR)
        self._keeper(scope, stored)
        self.restore(scope, stored)

    def restore(self, scope: IdempotencyScope, stored: StoredRequest) -> bool:
        """Store a request again that was stored before, later than those restored so far. False: it is here already."""
        kept = self._kept.setdefault(scope.principal, {})
        if scope in kept:
            return False
        kept[scope] = stored
        self._sizes[scope.principal] = self._sizes.get(scope.principal, 0) + stored.answer.size
        if self.size > self._size_max:
            for principal in list(self._kept):
                self._expire(principal)
        while self.size > self._size_max:
            self._forget_oldest(max(self._sizes, key=self._sizes.__getitem__))
        return True

    def kept(self, scope: IdempotencyScope) -> StoredRequest | None:
        return self._kept.get(scope.principal, {}).get(scope)

    def drop(self, scope: IdempotencyScope) -> None:
        """Another replica has forgotten this request."""
        if self.kept(scope) is not None:
            self._remove(scope)

    def _expire(self, principal: str) -> None:
        while (kept := self._kept.get(principal)) and next(iter(kept.values())).until <= self._clock():
            self._forget_oldest(principal)

    def _forget_oldest(self, principal: str) -> None:
        scope = next(iter(self._kept[principal]))
        self._remove(scope)
        self._keeper(scope, None)

    def _remove(self, scope: IdempotencyScope) -> None:
        principal, kept = scope.principal, self._kept[scope.principal]
        self._sizes[principal] -= kept.pop(scope).answer.size
        if not kept:
            del self._kept[principal], self._sizes[principal]


def _keep_nothing(scope: IdempotencyScope, stored: StoredRequest | None) -> None: ...
