"""The HTTP API on a free port, with the real store and conductor; LiveKit and the services are stand-ins."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from http_api.server import serving
from http_api.settings import DevSettings
from scripts.livekit_server import free_port
from tests.api.stand_ins import Api, LiveKit, StartApi, stand_ins


@pytest.fixture
async def start_api() -> AsyncIterator[StartApi]:
    """Starts an API with settings of the test's own: `await start_api(ready_timeout=1)`."""
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Api:
            port = free_port()
            chosen = DevSettings(_env_file=None, server_port=port, **settings)
            livekit = LiveKit()
            parts, agent = stand_ins(chosen, livekit)
            await stack.enter_async_context(serving(chosen, parts))
            http = await stack.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{port}"))
            return Api(http, parts, livekit, agent, port)

        yield start


@pytest.fixture
async def api(start_api: StartApi) -> Api:
    return await start_api()
