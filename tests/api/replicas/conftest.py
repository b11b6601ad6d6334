"""Several replicas of the API in one process, on one real Redis; LiveKit and the services are stand-ins that they
share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from http_api import app
from http_api.observability.sinks import LogSinks
from http_api.server import serving
from http_api.settings.settings import DevSettings, Settings
from manager_agent.redis.connection import RedisAway
from manager_agent.session import dispatch
from scripts.free_ports import free_port
from tests.api.conftest import NEVER_JOINING, logged
from tests.api.stand_ins import Api, LiveKit, stand_ins
from tests.redis_server import RedisServer
from tests.waiting import eventually


@dataclass
class StoppableApi(Api):
    stop: Callable[[], Awaitable[None]] = field(init=False)
    """Stops the replica, as SIGTERM does."""


StartReplica = Callable[..., Awaitable[StoppableApi]]


async def acts(api: Api) -> bool:
    """Whether this replica has its lease and knows what is in Redis."""
    shared = api.parts.replica
    assert shared is not None
    with suppress(RedisAway):
        await shared.shared.changelog.caught_up()
        return api.parts.acting.may_act and api.parts.recovery.is_complete
    return False


@pytest.fixture
async def start_replica(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StartReplica]:
    """Starts a replica: `await start_replica(redis_server, rate_limit=1)`. All of a test have the same LiveKit."""
    for setting in ("ACCEPT_TIMEOUT", "ACCEPT_TIMEOUT_MAX"):
        monkeypatch.setattr(dispatch, setting, NEVER_JOINING)
    monkeypatch.setattr(app, "DRAIN_TIMEOUT", 1.0)  # no stand-in of a manager comes
    livekit = LiveKit()
    async with AsyncExitStack() as stack:

        async def start(
            server: RedisServer, kind: type[Settings] = DevSettings, *, is_awaited: bool = True, **settings: Any
        ) -> StoppableApi:
            """`is_awaited`: until it acts."""
            port = free_port()
            chosen = kind(
                _env_file=None,
                server_port=port,
                redis_url=SecretStr(server.url),
                deployment=server.deployment,
                **{"service_join_timeout": NEVER_JOINING, **settings},
            )
            sinks = LogSinks()
            parts, agent = stand_ins(chosen, livekit, sinks)
            stack.callback(logged(chosen, sinks.recent.take))
            own = await stack.enter_async_context(AsyncExitStack())
            running = await own.enter_async_context(serving(parts))
            http = await own.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{port}"))
            api = StoppableApi(http, parts, livekit, agent, port)
            api.app, api.stop = running, own.aclose
            if is_awaited:
                await eventually("the replica acts", lambda: acts(api))
            return api

        yield start


@pytest.fixture
async def a(start_replica: StartReplica, redis_server: RedisServer) -> StoppableApi:
    return await start_replica(redis_server)


@pytest.fixture
async def b(start_replica: StartReplica, redis_server: RedisServer, a: Api) -> Api:
    """Another replica of the same deployment as `a`."""
    return await start_replica(redis_server)
