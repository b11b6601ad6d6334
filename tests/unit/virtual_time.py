"""Virtual time for tests: a clock that is set by hand, and an event loop whose timers fire at once."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, TypeVarTuple, Unpack

from tests.unit.sessions import START

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@dataclass
class VirtualClock:
    """Shows `now` until the test sets it."""

    now: float = START

    def __call__(self) -> float:
        return self.now


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Time stands still while anything can run, and then jumps to the next timer. What is meant for a thread runs on
    the loop, in no time."""

    def __init__(self) -> None:
        self.now = START
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self.now

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        outcome: asyncio.Future[T] = self.create_future()

        def run() -> None:
            try:
                value = func(*args)
            except Exception as error:
                if not outcome.done():
                    outcome.set_exception(error)
            else:
                if not outcome.done():
                    outcome.set_result(value)

        self.call_soon(run)
        return outcome


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found and timeout is None:
            raise RuntimeError("every task waits and no timer is set: this test would never end")
        if not found and timeout is not None:
            self._loop.now += timeout
        return found


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run the test on a VirtualTimeLoop."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


def now() -> float:
    """The time of the running loop, in seconds."""
    return asyncio.get_running_loop().time()


async def let_pass(seconds: float) -> None:
    """Let so much virtual time pass, with all that is due in it."""
    assert isinstance(asyncio.get_running_loop(), VirtualTimeLoop), "this would take real time"
    await asyncio.sleep(seconds)


def stand_still(seconds: float) -> None:
    """Let so much virtual time pass in which nothing runs, as in a process that is frozen."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop), "this would take real time"
    loop.now += seconds
