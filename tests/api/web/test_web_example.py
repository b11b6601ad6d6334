"""examples/web/server.py, which asks for sessions in the name of its visitors."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import TestClient, TestServer

from examples.web.server import create_app
from http_api.settings.settings import Settings
from tests.api.stand_ins import StartApi
from tests.tenants import ACME, production

pytestmark = pytest.mark.api


@pytest.mark.parametrize(("key", "statuses"), [(ACME.key, {201, 202}), (None, {401})], ids=["with its key", "without"])
async def test_web_example_authenticates_and_passes_answers_to_its_visitors(
    start_api: StartApi, key: str | None, statuses: set[int]
) -> None:
    api = await start_api(Settings, **production())
    manager = f"http://127.0.0.1:{api.port}"
    page = TestClient(TestServer(create_app(manager, services=(), api_key=key)))
    async with page, page.post("/session") as answer:
        assert answer.status in statuses, await answer.text()
    assert {session.owner for session in api.parts.store.list()} == ({ACME.name} if key else set())
