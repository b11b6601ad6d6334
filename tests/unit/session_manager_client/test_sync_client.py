"""SyncClient: the same methods as Client, run on a thread of its own."""

from __future__ import annotations

import asyncio
import inspect
import signal
import threading

import pytest

from session_manager_client import Client, SyncClient
from session_manager_client.models import ServerHealth

pytestmark = pytest.mark.unit


def test_the_sync_client_has_the_methods_of_the_client() -> None:
    methods = {name: method for name, method in vars(Client).items() if not name.startswith("_")}
    assert [name for name in vars(SyncClient) if not name.startswith("_")] == list(methods)
    for name, method in [*methods.items(), ("__init__", Client.__init__)]:
        own = inspect.signature(getattr(SyncClient, name))
        assert own.parameters == inspect.signature(method).parameters, name


def test_the_sync_client_works_in_its_block_only() -> None:
    closed = SyncClient()
    with pytest.raises(RuntimeError, match="with SyncClient"):
        closed.health()
    with closed:
        assert threading.active_count() > 1
    with pytest.raises(RuntimeError, match="with SyncClient"):
        next(closed.follow_all())
    assert "session-manager-client" not in {thread.name for thread in threading.enumerate()}


def test_an_interrupted_call_of_the_sync_client_is_cleaned_up_first(monkeypatch: pytest.MonkeyPatch) -> None:
    done = []

    async def health(_: Client) -> ServerHealth:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            done.append("cleaned up")
        raise AssertionError("it was canceled")

    monkeypatch.setattr(Client, "health", health)
    with SyncClient() as client:
        with pytest.raises(KeyboardInterrupt):
            client.health()
        assert done == ["cleaned up"]
