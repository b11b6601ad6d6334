"""A thread for blocking calls to a disk, which may hang forever.

It is a daemon. The threads of ThreadPoolExecutor are not: the interpreter waits for them at its exit, without a bound.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from threading import Thread
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class DiskThread(Executor):
    """Runs calls one after another."""

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        if self._thread.ident is None:
            self._thread.start()
        future: Future[T] = Future()
        self._calls.put((lambda: fn(*args, **kwargs), future))
        return future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = False) -> None:
        """End the thread after the calls that were submitted. It is not waited for, whatever the arguments say."""
        self._calls.put(None)

    def _run(self) -> None:
        while (submitted := self._calls.get()) is not None:
            call, future = submitted
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
            del submitted, call, future  # not kept until the next call
