"""The part of a session's id that is computed from the Idempotency-Key of the request that opened it. PURE.

A process that is killed has recorded the session in its room, but kept no answer. The client's next try finds the
session by its id.

    ses_ <time: 10 characters> <caller, operation and key: 10> <body: 6>      the last 16 are random without a key
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field

from ulid import ULID

from http_api.errors import IdempotencyKeyReused
from http_api.limits.idempotency_store import IdempotencyScope
from manager_agent.session.session import EndReason, Session

MARK, OF_BODY = 16, 6
"""The number of characters, in all and of the body."""


@dataclass(frozen=True, slots=True)
class KeyMark:
    text: str = field(repr=False)

    def session_id(self, session_id: str) -> str:
        """The id with this mark instead of its random part."""
        return session_id[:-MARK] + self.text

    def is_of_key(self, session_id: str) -> bool:
        """Whether a request with the same key may have opened this session."""
        return session_id[-MARK:-OF_BODY] == self.text[:-OF_BODY]

    def session_of(self, owner: str, sessions: Iterable[Session]) -> Session | None:
        """The newest session that a request with the same key has opened, unless it never got a room. Raises
        IdempotencyKeyReused if the request was another one."""
        found = None
        for session in sessions:
            if self.is_of_key(session.session_id) and session.owner == owner:
                found = session
        if found is None or (found.end is not None and found.end.reason is EndReason.ROOM_UNAVAILABLE):
            return None
        if not found.session_id.endswith(self.text):
            raise IdempotencyKeyReused
        return found


def key_mark(secret: str, scope: IdempotencyScope, body: bytes) -> KeyMark:
    """`secret`: keeps callers from computing the ids of each other's sessions."""
    parts = (scope.principal, scope.operation, scope.key)
    of_key, of_body = (_digest(secret, text) for text in ("\0".join(parts).encode(), body))
    return KeyMark(of_key[: MARK - OF_BODY] + of_body[:OF_BODY])


def _digest(secret: str, text: bytes) -> str:
    """16 characters as ULIDs have them."""
    digest = hmac.digest(b"session-manager/keys/" + secret.encode(), text, "sha256")
    return str(ULID(bytes(6) + digest[:10]))[-MARK:]
