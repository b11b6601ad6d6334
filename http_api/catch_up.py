"""Read your writes: what a client wrote through one replica it reads through any other at once."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from http_api.operations import operation_of
from http_api.replica import caught_up
from manager_agent.redis.connection import RedisAway
from manager_agent.store.store import UnknownSession


@web.middleware
async def catch_up(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Middleware: hold what reads or changes sessions and services until this replica knows everything that was written
    before. Raises RedisAway.

    Streams go on while Redis is away, and show that it is, so they may begin then too. Handlers that verify the
    credential themselves do this after it: what is forged is refused at once, and costs Redis nothing.
    """
    operation = operation_of(request)
    if operation is None or not operation.reads_state or operation.proof is not None:
        return await handler(request)
    try:
        await caught_up(request.app)
    except RedisAway as away:
        if not operation.is_stream:
            raise
        try:
            return await handler(request)
        except UnknownSession:  # it may be new
            raise away from None
    return await handler(request)
