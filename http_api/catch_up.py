"""Read your writes: what a client wrote through one replica it reads through any other at once."""

from __future__ import annotations

from aiohttp import web

from http_api.operations import Operation
from http_api.replica import caught_up
from manager_agent.redis.connection import RedisAway


async def catch_up(request: web.Request, operation: Operation) -> RedisAway | None:
    """Hold what reads or changes sessions and services until this replica knows everything that was written before.
    Raises RedisAway, or returns it for a stream: streams go on while Redis is away, and show that it is, so they may
    begin then too.

    Handlers that verify the credential themselves do this after it: what is forged is refused at once, and costs Redis
    nothing.
    """
    if not operation.reads_state or operation.proof is not None:
        return None
    try:
        await caught_up(request.app)
    except RedisAway as away:
        if not operation.is_stream:
            raise
        return away
    return None
