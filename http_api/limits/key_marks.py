"""The part of a session's id that is computed from the request that opened it. PURE.

A process that is killed has recorded the session in its room, but kept no answer. The client's next try finds the
session by its id. The last 16 characters of an id are:

    <caller, operation and key: 10> <body: 6>    of a request with an Idempotency-Key
    <caller, user and request: 10> <random: 6>   of a token request without a room name
    <random: 16>                                 of another
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from http_api.errors import IdempotencyKeyReused
from http_api.limits.idempotency_store import IdempotencyScope
from manager_agent.session.session import EndReason, Session
from manager_agent.ulids import text_of

MARK, OF_BODY = 16, 6
"""The number of characters, in all and of the body."""


def key_part(session_id: str) -> str:
    """What of the id is equal in all sessions that requests with one key have opened."""
    return session_id[-MARK:-OF_BODY]


@dataclass(frozen=True, slots=True)
class KeyMark:
    text: str = field(repr=False)

    def session_id(self, session_id: str) -> str:
        """The id with this mark instead of its random part."""
        return session_id[:-MARK] + self.text

    @property
    def of_key(self) -> str:
        """The part for the caller, the operation and the key."""
        return self.text[:-OF_BODY]

    def is_of_key(self, session_id: str) -> bool:
        """Whether a request with the same key may have opened this session."""
        return key_part(session_id) == self.of_key

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
    of_key = _of_parts(secret, scope.principal, scope.operation, scope.key)
    return KeyMark(of_key + _digest(secret, body)[:OF_BODY])


@dataclass(frozen=True, slots=True)
class RequestMark:
    """Equal for two token requests of the same caller for the same."""

    text: str = field(repr=False)

    def session_id(self, session_id: str) -> str:
        """The id with this mark instead of that part of its random one."""
        return session_id[:-MARK] + self.text + session_id[-OF_BODY:]

    @classmethod
    def of_session(cls, session_id: str) -> Self:
        """The mark of the request that opened the session, if that was a token request."""
        return cls(key_part(session_id))


def request_mark(secret: str, principal: str, identity: str | None, asked: str) -> RequestMark:
    """`asked`: the request as text. The other arguments: as for `key_mark`."""
    return RequestMark(_of_parts(secret, "token", principal, identity or "", asked))


def _of_parts(secret: str, *parts: str) -> str:
    return _digest(secret, "\0".join(parts).encode())[: MARK - OF_BODY]


def _digest(secret: str, text: bytes) -> str:
    """16 characters as ULIDs have them."""
    digest = hmac.digest(b"session-manager/keys/" + secret.encode(), text, "sha256")
    return text_of(bytes(6) + digest[:10])[-MARK:]
