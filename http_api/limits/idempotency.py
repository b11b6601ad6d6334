"""The Idempotency-Key header (draft-ietf-httpapi-idempotency-key-header): a request that is sent again is done once.

The work of such a request is a task of its own: it goes on when its client goes away, whose next try gets the answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence

from aiohttp import web
from aiohttp.typedefs import Handler

from http_api.app_keys import TASKS
from http_api.errors import MalformedRequest, NotReady, SessionOver
from http_api.limits.idempotency_store import IdempotencyScope, IdempotencyStore, StoredAnswer
from http_api.operations import operation_of
from http_api.problems.problems import answer_for
from http_api.protocol.bodies import BODY, read_bytes
from http_api.request_context import PRINCIPAL, REQUEST_ID

HEADER, REPLAYED_HEADER = "Idempotency-Key", "Idempotency-Replayed"
KEY = re.compile(r"[\x21-\x7e]{1,255}")
STRING = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*+)"')
"""A structured field's (RFC 9651)."""
TELL_OF_SOMETHING_DONE = (NotReady, SessionOver)
"""Errors that are kept as answers, besides those that are none: a session was made. After all others, trying again is
what the client wants."""


@web.middleware
async def idempotency(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers a request that was answered already with the same answer. Raises MalformedRequest, IdempotencyKeyReused,
    IdempotencyConflict, and what reading the body does."""
    operation, sent = operation_of(request), request.headers.getall(HEADER, ())
    if operation is None or not operation.is_idempotent or not sent:
        return await handler(request)
    scope = IdempotencyScope(request[PRINCIPAL].name, operation.id, read_key(sent))
    request[BODY] = await read_bytes(request)
    answer = request.app[IDEMPOTENCY_STORE].begin(scope, hashlib.sha256(request[BODY]).digest())
    if answer is not None:
        return web.Response(
            status=answer.status, headers=[*answer.headers, (REPLAYED_HEADER, "true")], body=answer.body
        )
    name = f"{operation.id} {request[REQUEST_ID]}"
    return await asyncio.shield(request.app[TASKS].spawn(_work(request, handler, scope), name=name))


def read_key(headers: Sequence[str]) -> str:
    """The key in the headers of one request, bare or in quotes. Raises MalformedRequest. PURE."""
    if len(headers) > 1:
        raise MalformedRequest(f"send one {HEADER}")
    quoted = STRING.fullmatch(headers[0])
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else headers[0]
    if not KEY.fullmatch(key) or (not quoted and key.startswith('"')):
        raise MalformedRequest(f"{HEADER}: send 1 to 255 visible ASCII characters, as they are or in quotes")
    return key


async def _work(request: web.Request, handler: Handler, scope: IdempotencyScope) -> web.StreamResponse:
    """The answer, or the problem, that the handler gives; kept if it tells of something done."""
    kept: StoredAnswer | None = None
    try:
        try:
            answer, is_kept = await handler(request), True
        except Exception as error:
            answer, is_kept = answer_for(request, error), isinstance(error, TELL_OF_SOMETHING_DONE)
        if is_kept:
            kept = _copy(answer)
        return answer
    finally:
        request.app[IDEMPOTENCY_STORE].finish(scope, kept)


def _copy(answer: web.StreamResponse) -> StoredAnswer:
    assert isinstance(answer, web.Response), "no stream is idempotent"
    assert isinstance(answer.body, bytes)
    return StoredAnswer(answer.status, tuple(answer.headers.items()), answer.body)


IDEMPOTENCY_STORE = web.AppKey("IDEMPOTENCY_STORE", IdempotencyStore)
