"""Keeps the stored responses to requests with an Idempotency-Key over a restart, by the records.

Where several replicas write the records, each takes over the responses of the others as they come, within its own
bound of space. What one forgets, all forget.

Responses have tokens in them. They are encrypted with a key derived from LiveKit's API secret: with that secret anyone
can make such tokens, and without it a copy of the file has none. Decision 0032.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable, Set
from dataclasses import dataclass

import structlog
from cryptography.fernet import Fernet, InvalidToken

from http_api.limits.idempotency_store import IdempotencyScope, IdempotencyStore, StoredAnswer, StoredRequest
from manager_agent.records.records import Kind, Record, Records
from manager_agent.records.values import ModelJson, Values

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    principal: str
    operation: str
    key: str
    fingerprint: str
    """In hexadecimal."""
    status: int
    headers: tuple[tuple[str, str], ...]
    body: str


class SecretCipher:
    """Encrypts with a key derived from a secret. With another secret nothing can be read, and its tokens are invalid
    too."""

    def __init__(self, secret: str) -> None:
        key = hmac.digest(secret.encode(), b"session-manager/answers", "sha256")
        self._fernet = Fernet(base64.urlsafe_b64encode(key))

    def encrypt(self, content: bytes) -> bytes:
        return self._fernet.encrypt(content)

    def decrypt(self, encrypted: bytes) -> bytes:
        try:
            return self._fernet.decrypt(encrypted)
        except InvalidToken:
            raise ValueError("it was written with another LIVEKIT_API_SECRET, or changed") from None


class AnswerRecords:
    """Restores the stored responses, and keeps every change from its start on."""

    def __init__(self, store: IdempotencyStore, records: Records, secret: str) -> None:
        """`secret`: LiveKit's."""
        self._store, self._records = store, records
        self._scopes: dict[str, IdempotencyScope] = {}
        """Of the responses that are recorded and stored here, by the keys of their records."""
        self._values = Values(Kind.ANSWER, 1, ModelJson(RecordedAnswer), SecretCipher(secret))
        records.listen(Kind.ANSWER, self._heard, self._read_anew)

    async def start(self) -> None:
        self._store.keep_with(self.keep)
        await self.restore()

    async def restore(self) -> None:
        """Take over the responses in the records that are not known here."""
        if restored := self._take_over(await self._records.load(Kind.ANSWER)):
            log.info("answers_restored", answers=restored)

    async def aclose(self) -> None: ...

    def keep(self, scope: IdempotencyScope, stored: StoredRequest | None) -> None:
        """Keep the response; None: it is forgotten."""
        key = scope.digest
        if stored is None:
            self._scopes.pop(key, None)
            self._records.delete(Kind.ANSWER, key)
        else:
            self._scopes[key] = scope
            self._put(key, scope, stored)

    def _put(self, key: str, scope: IdempotencyScope, stored: StoredRequest) -> None:
        value = self._values.write(_recorded(scope, stored))
        self._records.put(Kind.ANSWER, key, value, expires_at=stored.until)

    def _take_over(self, records: Iterable[Record]) -> int:
        """Returns how many of the responses were not known here."""
        unknown = [record for record in records if record.key not in self._scopes]
        ends, taken = {record.key: record.expires_at for record in unknown}, 0
        for key, recorded in self._values.read(unknown).items():
            if (until := ends[key]) is not None:
                scope, stored = _stored(recorded, until)
                self._scopes[key] = scope
                taken += self._store.restore(scope, stored)
        return taken

    def _heard(self, record: Record | None, key: str) -> None:
        if record is not None:
            self._take_over((record,))
        elif (scope := self._scopes.pop(key, None)) is not None:
            self._store.drop(scope)

    def _read_anew(self, keys: Set[str], are_lost: bool) -> None:
        """Record again what was lost, and forget what other replicas have forgotten meanwhile."""
        for key in self._scopes.keys() - keys:
            scope = self._scopes[key]
            if are_lost and (stored := self._store.kept(scope)) is not None:
                self._put(key, scope, stored)
            else:
                self._heard(None, key)


def _recorded(scope: IdempotencyScope, stored: StoredRequest) -> RecordedAnswer:
    answer = stored.answer
    return RecordedAnswer(
        scope.principal,
        scope.operation,
        scope.key,
        stored.fingerprint.hex(),
        answer.status,
        answer.headers,
        answer.body.decode(),
    )


def _stored(recorded: RecordedAnswer, until: float) -> tuple[IdempotencyScope, StoredRequest]:
    scope = IdempotencyScope(recorded.principal, recorded.operation, recorded.key)
    answer = StoredAnswer(recorded.status, recorded.headers, recorded.body.encode())
    return scope, StoredRequest(bytes.fromhex(recorded.fingerprint), answer, until)
