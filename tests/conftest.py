"""For all tests: which of them are run again when they fail, and a look at everything that the API lets out."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from http_api.manager_parts import STORE
from tests.exhibits import EXHIBITS
from tests.otel_collector import otel_collector as otel_collector
from tests.otel_collector import otel_collector_binary as otel_collector_binary

LAST = "test_secrecy.py"
AGAIN = pytest.mark.flaky(reruns=2)
"""WebRTC on a machine that is busy with something else may miss a deadline. The report names what was run again."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name == LAST)
    for item in items:
        if item.get_closest_marker("live") or item.get_closest_marker("browser"):
            item.add_marker(AGAIN)


def _is_ours(request: Any) -> bool:
    """Whether it is the API that was asked; also what was not even HTTP may have been meant for it."""
    return isinstance(request, web.Request) and (request._match_info is None or STORE in request.app)


def _look_at_answers() -> None:
    """aiohttp's own methods are wrapped, as nothing else sees every answer whoever asked for it."""
    prepare, write = web.StreamResponse.prepare, web.StreamResponse.write

    async def seen_prepare(self: web.StreamResponse, request: web.BaseRequest) -> Any:
        if isinstance(self, web.Response) and isinstance(self.body, bytes) and _is_ours(request):
            named = f"{request.method} {request.path}"
            EXHIBITS.answer(named, request.path, self.content_type, self.body)
        return await prepare(self, request)

    async def seen_write(self: web.StreamResponse, data: Any) -> None:
        if (request := self._req) is not None and _is_ours(request):
            EXHIBITS.text(self.content_type, request.path, bytes(data).decode(errors="replace"))
        await write(self, data)

    web.StreamResponse.prepare = seen_prepare  # type: ignore[method-assign]
    web.StreamResponse.write = seen_write  # type: ignore[method-assign]


_look_at_answers()
