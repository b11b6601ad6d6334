"""The dashboard of one of three replicas: the list of them, and what it says while Redis is away."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.api.replicas.conftest import StartReplica, start_replica  # noqa: F401 - a fixture
from tests.browser.dashboard import PHONE, Show
from tests.redis_server import RedisServer

pytestmark = pytest.mark.browser

NAMES = ("manager-0", "manager-1", "manager-2.session-manager.eu-central-1.example.internal")


async def test_page_lists_replicas_and_says_that_redis_is_away(
    own_redis_server: RedisServer,
    start_replica: StartReplica,  # noqa: F811
    show: Show,
) -> None:
    apis = [await start_replica(own_redis_server, replica_name=name) for name in NAMES]
    async with apis[1].http.post("/api/v1/replicas/drain") as answer:
        assert answer.status == 202, await answer.text()
    dashboard = await show(f"http://127.0.0.1:{apis[0].port}", at="#/services", refused=["/api/v1/", "/health"])
    page = dashboard.page
    replicas = page.get_by_role("region", name="Replicas")
    rows = replicas.locator("tbody tr")
    await expect(rows).to_have_count(len(NAMES))
    await expect(page.get_by_role("heading", name="Replicas 3")).to_be_visible()
    await expect(rows.filter(has_text="serves this page")).to_contain_text(NAMES[0])
    await expect(rows.filter(has_text="compares sessions")).to_have_count(1)
    await expect(rows.filter(has_text="draining")).to_contain_text(NAMES[1])
    await dashboard.photograph("replicas")
    await dashboard.is_accessible()
    await dashboard.fits()

    await own_redis_server.limit_memory()
    await expect(dashboard.banner).to_contain_text("Redis refuses writes")
    await expect(dashboard.banner).to_contain_text("out of memory")
    await dashboard.is_accessible()
    await own_redis_server.limit_memory(0)

    own_redis_server.stop()
    await expect(dashboard.banner).to_contain_text("Redis is away")
    await expect(dashboard.banner).to_contain_text("this page may be out of date")
    await dashboard.photograph("redis-away")
    await dashboard.is_accessible()
    width, height = PHONE
    await page.set_viewport_size({"width": width, "height": height})
    await dashboard.photograph("redis-away-phone")
    await dashboard.fits()

    own_redis_server.start()
    await expect(dashboard.banner).to_have_count(0)
    await expect(rows).to_have_count(len(NAMES))
