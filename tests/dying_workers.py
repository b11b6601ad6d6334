"""Keeps a run going while one of its workers dies."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from xdist.workermanage import WorkerController  # type: ignore[import-untyped]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """xdist (3.8) ends the run with an internal error if it sends a command to a worker before it has noticed its
    death. Without the command it notices next, and gives the worker's tests to another one."""
    send = WorkerController.sendcommand

    def send_if_alive(self: WorkerController, name: str, **kwargs: Any) -> None:
        with suppress(OSError):
            send(self, name, **kwargs)

    WorkerController.sendcommand = send_if_alive
