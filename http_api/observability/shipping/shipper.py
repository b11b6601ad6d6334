"""Ship log entries from a separate thread with its own event loop.

Entries are shipped before the application's loop starts, while it is busy and after it has ended, without blocking it.
The thread, and its threads for name resolution, are daemons: the collector and the name server can't delay the exit of
the process.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any, Self

import structlog

from http_api.observability.exit_budget import ExitBudget
from http_api.observability.logs import LogEntry
from http_api.observability.shipping.backlog import Backlog
from http_api.observability.shipping.batch import Batch, Bounds, Stats
from http_api.observability.shipping.collector import TIMEOUT, Collector
from http_api.observability.shipping.daemon_threads import DaemonThreads
from http_api.observability.shipping.failure_reporter import FailureReporter, ReportKind
from http_api.observability.shipping.formats import Format
from http_api.observability.shipping.hints import hint
from http_api.observability.shipping.retry_policy import BatchOutcome, RetryPolicy
from http_api.settings.log_endpoint import LogEndpoint
from manager_agent.backoff import backoff

log = structlog.get_logger()

PAUSE, PAUSE_MAX = 1.0, 60.0
"""Seconds without jitter between restarts after an internal error: the first pause, and the longest."""
LAST_PAUSE = 0.1
"""Seconds between two tries at exit."""
ENDING = 0.2
"""The part of the exit budget, in seconds, that the thread has to end after its last try."""


class Shipper:
    """A context manager. On exit it ships the remaining entries, as far as the exit budget allows."""

    is_on = True

    def __init__(
        self,
        endpoint: LogEndpoint,
        format: Format,
        bounds: Bounds | None = None,
        timeout: float = TIMEOUT,
        exit_budget: ExitBudget | None = None,
    ) -> None:
        """`timeout`: seconds for one try."""
        self._endpoint, self._format, self._timeout = endpoint, format, timeout
        self._backlog, self._exit_budget = Backlog(bounds), exit_budget or ExitBudget()
        self._failures = FailureReporter()
        self._thread = threading.Thread(target=self._run, name="log-shipper", daemon=True)
        self._is_running = threading.Event()
        """Set once the following four attributes are."""
        self._loop: asyncio.AbstractEventLoop
        self._shipping: asyncio.Task[None]
        self._news: asyncio.Event
        self._ending: asyncio.Event

    def __repr__(self) -> str:
        return f"<Shipper {self._endpoint} {self._format.name} {self._backlog}>"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Returns within the exit budget."""
        deadline = time.monotonic() + self._exit_budget.left()
        if self._is_running.wait(self._exit_budget.left()):
            self._call_in_loop(lambda: self._end(deadline - ENDING))
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if lost := self._backlog.close():
            log.warning("logs_lost_at_exit", count=lost, endpoint=str(self._endpoint))

    def put(self, entry: LogEntry) -> None:
        """Queue an entry. Usable as a Sink."""
        if self._backlog.put(entry.line.encode()) and self._is_running.is_set():
            self._call_in_loop(self._news.set)

    @property
    def stats(self) -> Stats:
        return self._backlog.stats()

    def _call_in_loop(self, callback: Callable[[], object]) -> None:
        """Call `callback` in the thread's event loop."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(callback)

    def _end(self, deadline: float) -> None:
        self._ending.set()
        self._news.set()
        self._loop.call_later(deadline - time.monotonic(), self._shipping.cancel)

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            runner.get_loop().set_default_executor(DaemonThreads())
            with suppress(asyncio.CancelledError):  # not everything was shipped in time
                runner.run(self._keep_shipping())

    async def _keep_shipping(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._shipping = task
        self._loop, self._news, self._ending = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        self._is_running.set()
        for failures in count(1):
            try:
                await self._ship()
            except Exception:
                pause = backoff("log shipper", failures, first=PAUSE, most=PAUSE_MAX)
                log.exception("log_shipper_failed", again_in=round(pause, 1))
            else:
                return
            if self._ending.is_set():
                return
            await self._pause(pause)

    async def _ship(self) -> None:
        """Ship batches until the process exits and the backlog is empty. Raises on an internal error."""
        retry_policy = RetryPolicy(seed=secrets.token_hex(8))
        async with Collector(self._endpoint, self._format, self._timeout) as collector:
            while batch := await self._next_batch():
                retry_policy = await self._send(batch, collector, retry_policy)
                await self._pause(retry_policy.pause)

    async def _send(self, batch: Batch, collector: Collector, retry_policy: RetryPolicy) -> RetryPolicy:
        """Send the batch and settle it. Returns the policy after the response."""
        try:
            answer = await collector.send(batch)
            retry_policy = retry_policy.after(answer, batch)
            self._settle(batch, retry_policy.outcome, answer.rejected)
        except Exception:
            self._backlog.keep(batch)
            raise
        self._report(retry_policy, answer.why, hint(answer, self._format.name))
        return retry_policy

    async def _next_batch(self) -> Batch | None:
        """Wait for the next batch. None: the process exits and the backlog is empty."""
        while not self._ending.is_set():
            self._news.clear()
            wait = self._backlog.due_in()
            if wait == 0:
                break
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._news.wait()
        return self._backlog.take()

    def _settle(self, batch: Batch, outcome: BatchOutcome, rejected: int) -> None:
        match outcome:
            case BatchOutcome.ARRIVED:
                self._backlog.arrived(batch, rejected)
            case BatchOutcome.KEPT:
                self._backlog.keep(batch)
            case BatchOutcome.HALVED:
                self._backlog.halve(batch)
            case BatchOutcome.REFUSED:
                self._backlog.refused(batch)

    def _report(self, after: RetryPolicy, why: str, hint: str | None) -> None:
        stats = self._backlog.stats()
        report = self._failures.look(
            now=time.monotonic(),
            is_failing=after.is_failing,
            has_arrived=after.outcome is BatchOutcome.ARRIVED,
            dropped=stats.dropped,
        )
        if report is None:
            return
        about: dict[str, Any] = {"endpoint": str(self._endpoint), "queued": stats.queued_records}
        about |= {"dropped": dict(report.dropped)} if report.dropped else {}
        if report.kind is ReportKind.ALL_CLEAR:
            log.info("logs_shipped_again", **about)
        else:
            log.warning("logs_not_shipped", why=why, **({"hint": hint} if hint else {}), **about)

    async def _pause(self, seconds: float) -> None:
        """Sleep, but only briefly when the process exits."""
        if self._ending.is_set():
            await asyncio.sleep(min(seconds, LAST_PAUSE))
        elif seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._ending.wait()
