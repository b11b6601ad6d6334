"""Claims of idempotency keys: of requests with one key at several replicas at the same time, one is executed.

A claim names its replica. It ends with the request, or with the replica: the next request takes over a claim whose
replica is gone. A response that is kept is in the records before the claim ends, so the next one to claim the key
finds it.

A replica that was frozen may go on with a request whose claim is another's by then. So a session is added only while
the claim of its request is there (`guard_of`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from itertools import count

from aiohttp import web

from http_api.errors import IdempotencyConflict, IdempotencyKeyReused
from http_api.limits.announcements import Announcements
from http_api.limits.idempotency_store import IdempotencyScope
from http_api.limits.key_marks import MARK, KeyMark
from manager_agent.redis.connection import RedisConnection
from manager_agent.redis.script import load_script
from manager_agent.session.session import Session
from manager_agent.store.session_scripts import Guard

SWAP = load_script("swap")
KEPT_FOR = 900_000
"""Milliseconds after which a claim is forgotten in any case: longer than any request takes."""


@dataclass(frozen=True, slots=True)
class Claim:
    key: str
    value: str


class IdempotencyClaims:
    def __init__(
        self,
        connection: RedisConnection,
        replica_id: str,
        is_alive: Callable[[str], bool],
        committed: Callable[[], Awaitable[None]],
    ) -> None:
        """`is_alive`: whether a replica of this id may still execute a request. `committed`: Records.committed."""
        self._connection, self._replica_id, self._is_alive = connection, replica_id, is_alive
        self._numbers, self._announcements = count(), Announcements(committed)
        self._guards: dict[str, Claim] = {}
        """The claims of requests that are executed here, by their marks."""

    async def start(self) -> None: ...

    async def aclose(self) -> None:
        await self._announcements.aclose()

    async def read_anew(self) -> None:
        """As ChangeLog.read_anew_with has it."""
        await self._announcements.end_again()

    async def take(self, scope: IdempotencyScope, fingerprint: bytes) -> Claim:
        """Claim the key for a request that does not run here. Call `end` after it. Raises IdempotencyConflict,
        IdempotencyKeyReused, RedisAway."""
        value = f"{self._replica_id} {fingerprint.hex()} {next(self._numbers)}"  # unlike a claim that is being ended
        claim = Claim(self._connection.keys.claim(scope.digest), value)
        with self._announcements.beginning(partial(self._end, claim), name="end claim", kept_for=KEPT_FOR):
            found = await self._connection.call("SET", claim.key, claim.value, "NX", "GET", "PX", KEPT_FOR)
            while found is not None:
                self._refuse(found.decode(), fingerprint)
                found = await self._swap(claim.key, found, claim.value)
        return claim

    def guard(self, mark: KeyMark, claim: Claim) -> None:
        """The request with this mark is executed only under the claim."""
        self._guards[mark.text] = claim

    def guard_of(self, session: Session) -> Guard | None:
        """What must be stored for the session to be added."""
        claim = self._guards.get(session.session_id[-MARK:])
        return None if claim is None else Guard(claim.key, claim.value)

    def end(self, claim: Claim, mark: KeyMark | None = None) -> None:
        """End the claim, in the background once the response is kept, if it is to be. `mark`: of a request that was
        executed."""
        if mark is not None and self._guards.get(mark.text) == claim:
            del self._guards[mark.text]
        self._announcements.end(partial(self._end, claim), name="end claim", kept_for=KEPT_FOR)

    def _refuse(self, found: str, fingerprint: bytes) -> None:
        """Raise the error for a request whose key has this claim, unless the claim is to be taken over."""
        replica_id, claimed, _ = found.split(" ")
        if replica_id == self._replica_id or not self._is_alive(replica_id):
            return  # one of this replica that could not be ended yet, or of one that is gone
        if claimed != fingerprint.hex():
            raise IdempotencyKeyReused
        raise IdempotencyConflict

    async def _swap(self, key: str, expected: bytes, value: str) -> bytes | None:
        """Replace the claim. Returns the one that is there instead, if it is another one by now. Raises RedisAway."""
        found: bytes | None = await self._connection.run(SWAP, [key], [expected, value, KEPT_FOR])
        return found

    async def _end(self, claim: Claim) -> None:
        await self._swap(claim.key, claim.value.encode(), "")


CLAIMS: web.AppKey[IdempotencyClaims | None] = web.AppKey("CLAIMS")
"""None: there are no other replicas."""
