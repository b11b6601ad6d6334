"""For all tests: signals, orphans of dead workers, how long waits may take, and a look for secrets in every answer."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any
from weakref import WeakKeyDictionary

import pytest
import structlog
from aiohttp import web

from http_api.app_keys import STORE
from tests.dying_workers import pytest_xdist_setupnodes as pytest_xdist_setupnodes
from tests.leak_scanner import LEAK_SCANNER
from tests.order import pytest_collection_modifyitems as pytest_collection_modifyitems
from tests.orphans import pytest_testnodedown as pytest_testnodedown
from tests.orphans import pytest_xdist_newgateway as pytest_xdist_newgateway
from tests.otel_collector import otel_collector as otel_collector
from tests.otel_collector import otel_collector_binary as otel_collector_binary
from tests.ports import take_own_ports
from tests.redis_server import own_redis_server as own_redis_server
from tests.redis_server import patience_with_redis as patience_with_redis
from tests.redis_server import redis_server as redis_server
from tests.redis_server import shared_redis_server as shared_redis_server
from tests.signals import pytest_configure as pytest_configure
from tests.signals import pytest_unconfigure as pytest_unconfigure
from tests.waiting import begin_test


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="let Schemathesis make three times as many requests")


@pytest.fixture(scope="session", autouse=True)
def own_state_home(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """Keep what programs write by default out of the home directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def own_log_configuration() -> Generator[None]:
    """What a test configures ends with it: the next one may capture log entries of any level."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    begin_test(item)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Generator[None]:
    """After its fixtures, which scan logs too: fail a test in which something was leaked."""
    try:
        return (yield)
    finally:
        if found := LEAK_SCANNER.take_found():
            pytest.fail("\n".join(found), pytrace=False)


def _is_ours(request: Any) -> bool:
    """Whether the request went to the API. Malformed HTTP counts, as it may have been meant for the API."""
    return isinstance(request, web.Request) and (request._match_info is None or STORE in request.app)


def _look_at_answers() -> None:
    """Wrap aiohttp's own methods: nothing else sees the answers to every client."""
    prepare, write = web.StreamResponse.prepare, web.StreamResponse.write

    kinds = WeakKeyDictionary[web.StreamResponse, str]()
    """The content types: a stream drops its headers once they are sent."""

    async def seen_prepare(self: web.StreamResponse, request: web.BaseRequest) -> Any:
        kinds[self] = self.content_type
        if isinstance(self, web.Response) and isinstance(self.body, bytes) and _is_ours(request):
            named = f"{request.method} {request.path}"
            LEAK_SCANNER.answer(named, request.path, self.content_type, self.body)
        return await prepare(self, request)

    async def seen_write(self: web.StreamResponse, data: Any) -> None:
        if (request := self._req) is not None and _is_ours(request):
            LEAK_SCANNER.text(kinds[self], request.path, bytes(data).decode(errors="replace"))
        await write(self, data)

    web.StreamResponse.prepare = seen_prepare  # type: ignore[method-assign]
    web.StreamResponse.write = seen_write  # type: ignore[method-assign]


_look_at_answers()
take_own_ports()
