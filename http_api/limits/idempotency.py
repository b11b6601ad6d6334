"""The Idempotency-Key header (draft-ietf-httpapi-idempotency-key-header): execute a repeated request only once.

Such a request runs in its own task. It continues when its client disconnects, and the client's retry gets the response.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence

from aiohttp import web
from aiohttp.typedefs import Handler

from http_api.app_keys import RECORDS, TASKS
from http_api.errors import IdempotencyKeyReused, MalformedRequest, NotReady, SessionOver
from http_api.limits.claims import CLAIMS, Claim, IdempotencyClaims
from http_api.limits.idempotency_store import IdempotencyScope, IdempotencyStore, StoredAnswer
from http_api.limits.key_marks import KeyMark, key_mark
from http_api.operations import Operation
from http_api.problems.problems import answer_for
from http_api.protocol.bodies import BODY, read_bytes
from http_api.replica import caught_up
from http_api.request_context import PRINCIPAL, REQUEST_ID
from http_api.settings.settings import SETTINGS
from manager_agent.redis.connection import RedisAway

HEADER, REPLAYED_HEADER = "Idempotency-Key", "Idempotency-Replayed"
KEY = re.compile(r"[\x21-\x7e]{1,255}")
STRING = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*+)"')
"""A string in a structured field (RFC 9651)."""
STORED_ERRORS = (NotReady, SessionOver)
"""Errors whose problem responses are stored like successful responses, because a session was created. After any other
error the client should be able to retry with the same key."""


def is_executed_once(request: web.Request, operation: Operation) -> bool:
    """Whether the request has a key that the operation supports."""
    return operation.is_idempotent and HEADER in request.headers


async def execute_once(request: web.Request, operation: Operation, handler: Handler) -> web.StreamResponse:
    """The handler's response, or the stored response to a repeated request. Raises MalformedRequest,
    IdempotencyKeyReused, IdempotencyConflict, RedisAway, and the errors of reading the body."""
    scope = IdempotencyScope(request[PRINCIPAL].name, operation.id, read_key(request.headers.getall(HEADER)))
    request[BODY] = await read_bytes(request)
    fingerprint = hashlib.sha256(request[BODY]).digest()
    answer = request.app[IDEMPOTENCY_STORE].begin(scope, fingerprint)
    claims, claim = request.app[CLAIMS], None
    if answer is None and claims is not None:
        claim, answer = await _claimed(request, claims, scope, fingerprint)
    if answer is not None:
        await request.app[RECORDS].committed()
        return web.Response(
            status=answer.status, headers=[*answer.headers, (REPLAYED_HEADER, "true")], body=answer.body
        )
    secret = request.app[SETTINGS].livekit_api_secret.get_secret_value()
    request[KEY_MARK] = mark = key_mark(secret, scope, request[BODY])
    if claims is not None and claim is not None:
        claims.guard(mark, claim)
    name = f"{operation.id} {request[REQUEST_ID]}"
    return await asyncio.shield(request.app[TASKS].spawn(_work(request, handler, scope, claim), name=name))


async def _claimed(
    request: web.Request, claims: IdempotencyClaims, scope: IdempotencyScope, fingerprint: bytes
) -> tuple[Claim | None, StoredAnswer | None]:
    """Claim the key of a request that has begun here, or find the response that another replica has kept meanwhile.
    Raises IdempotencyConflict, IdempotencyKeyReused, RedisAway."""
    store, kept = request.app[IDEMPOTENCY_STORE], None
    claim: Claim | None = None
    try:
        claim = await claims.take(scope, fingerprint)
        await caught_up(request.app)
        if (kept := store.kept(scope)) is None:
            return claim, None
    except BaseException:
        store.finish(scope, None)
        if claim is not None:
            claims.end(claim)
        raise
    store.finish(scope, None)
    claims.end(claim)
    if kept.fingerprint != fingerprint:
        raise IdempotencyKeyReused
    return None, kept.answer


def read_key(headers: Sequence[str]) -> str:
    """The key in the headers of one request, bare or quoted. Raises MalformedRequest. PURE."""
    if len(headers) > 1:
        raise MalformedRequest(f"send only one {HEADER}")
    quoted = STRING.fullmatch(headers[0])
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else headers[0]
    if not KEY.fullmatch(key) or (not quoted and key.startswith('"')):
        raise MalformedRequest(f"{HEADER}: send 1 to 255 visible ASCII characters, bare or in quotes")
    return key


async def _work(
    request: web.Request, handler: Handler, scope: IdempotencyScope, claim: Claim | None
) -> web.StreamResponse:
    """The handler's response or problem, once it is committed if it is stored."""
    try:
        answer, is_stored = await _executed(request, handler, scope)
        if is_stored:
            await request.app[RECORDS].committed()
        return answer
    except RedisAway as away:
        return answer_for(request, away)
    finally:
        if (claims := request.app[CLAIMS]) is not None and claim is not None:
            claims.end(claim, request[KEY_MARK])


async def _executed(request: web.Request, handler: Handler, scope: IdempotencyScope) -> tuple[web.StreamResponse, bool]:
    """The handler's response or problem, and whether it is stored: if it succeeded or failed with one of
    STORED_ERRORS."""
    kept: StoredAnswer | None = None
    try:
        try:
            answer, is_kept = await handler(request), True
        except Exception as error:
            answer, is_kept = answer_for(request, error), isinstance(error, STORED_ERRORS)
        if is_kept:
            kept = _copy(answer)
    finally:
        request.app[IDEMPOTENCY_STORE].finish(scope, kept)
    return answer, is_kept


def _copy(answer: web.StreamResponse) -> StoredAnswer:
    assert isinstance(answer, web.Response), "idempotent operations do not stream"
    assert isinstance(answer.body, bytes)
    return StoredAnswer(answer.status, tuple(answer.headers.items()), answer.body)


KEY_MARK = web.RequestKey("KEY_MARK", KeyMark)
"""Set for a request with an Idempotency-Key that is executed."""
IDEMPOTENCY_STORE = web.AppKey("IDEMPOTENCY_STORE", IdempotencyStore)
