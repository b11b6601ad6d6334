"""For all tests: which ones are run again when they fail, how long waits may take, and a look at every API answer."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from aiohttp import web

from http_api.app_keys import STORE
from tests.leak_scanner import LEAK_SCANNER
from tests.otel_collector import otel_collector as otel_collector
from tests.otel_collector import otel_collector_binary as otel_collector_binary
from tests.waiting import begin_test

LAST = "test_secrecy.py"
AGAIN = pytest.mark.flaky(reruns=2)
"""WebRTC on a machine that is busy with something else may miss a deadline. The report names what was run again."""


def pytest_configure() -> None:
    """A run in the background of a shell ignores SIGINT, and so would the programs that tests start and interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name == LAST)
    for item in items:
        if item.get_closest_marker("live") or item.get_closest_marker("browser"):
            item.add_marker(AGAIN)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    begin_test(item)


def _is_ours(request: Any) -> bool:
    """Whether the request went to the API. Malformed HTTP counts, as it may have been meant for the API."""
    return isinstance(request, web.Request) and (request._match_info is None or STORE in request.app)


def _look_at_answers() -> None:
    """Wrap aiohttp's own methods: nothing else sees the answers to every client."""
    prepare, write = web.StreamResponse.prepare, web.StreamResponse.write

    async def seen_prepare(self: web.StreamResponse, request: web.BaseRequest) -> Any:
        if isinstance(self, web.Response) and isinstance(self.body, bytes) and _is_ours(request):
            named = f"{request.method} {request.path}"
            LEAK_SCANNER.answer(named, request.path, self.content_type, self.body)
        return await prepare(self, request)

    async def seen_write(self: web.StreamResponse, data: Any) -> None:
        if (request := self._req) is not None and _is_ours(request):
            LEAK_SCANNER.text(self.content_type, request.path, bytes(data).decode(errors="replace"))
        await write(self, data)

    web.StreamResponse.prepare = seen_prepare  # type: ignore[method-assign]
    web.StreamResponse.write = seen_write  # type: ignore[method-assign]


_look_at_answers()
