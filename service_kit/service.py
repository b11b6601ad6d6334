"""A microservice that is invited into sessions: its description, its handler, and how it runs."""

from __future__ import annotations

import asyncio
import signal
import warnings
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog
from aiohttp import web
from jwt import InsecureKeyLengthWarning

from manager_agent.livekit.ffi import PANIC_EXIT_CODE, disable_log_capture, has_panicked, tell_panics_apart
from manager_agent.messages import ReadyOn
from service_kit.invite_endpoint import invite_endpoint
from service_kit.load import LoadGauge, read
from service_kit.registration import NotNow, Registration, RegistrationRefused, registered
from service_kit.session_job import SessionJob
from service_kit.session_jobs import Handler, SessionJobs
from service_kit.settings import ServiceSettings

log = structlog.get_logger()

LEASE_MIN = 1.0


class Service:
    def __init__(
        self,
        service_id: str,
        *,
        type: str,
        version: str = "1.0.0",
        labels: Mapping[str, str] | None = None,
        capacity: int | None = None,
        lease: float | None = 30.0,
        ready_on: ReadyOn = ReadyOn.SIGNAL,
        shared: bool = False,
        path: str = "/",
        join_timeout: float = 10.0,
        grace: float = 5.0,
        drain_timeout: float = 25.0,
    ) -> None:
        """Describe the service; times in seconds.

        `labels`: sessions may select services by them.
        `capacity`: concurrent jobs; further invites are answered with 429.
        `lease`: without a heartbeat for this long, the manager may drop the service; None: never.
        `ready_on`: ready by a signal from the handler, or by joining alone.
        `shared`: for the sessions of every caller; requires an API key with the scope `admin`.
        `path`: of the endpoint that receives invites.
        `join_timeout`: for connecting to a room.
        `grace`: for the handler to finish when its session ends, before it is cancelled.
        `drain_timeout`: for running jobs to finish on SIGTERM.

        Raises ValueError.
        """
        if capacity is not None and capacity < 1:
            raise ValueError(f"capacity must be at least 1, not {capacity}")
        if lease is not None and lease < LEASE_MIN:
            raise ValueError(f"lease must be at least {LEASE_MIN:g} second, not {lease:g}")
        self.service_id, self.type, self.version = service_id, type, version
        self.labels, self.capacity = dict(labels or {}), capacity
        self._lease, self._ready_on, self._path = lease, ready_on, path
        self._shared = shared
        self._join_timeout, self._grace, self._drain_timeout = join_timeout, grace, drain_timeout
        self._handler: Handler | None = None
        self._gauge: LoadGauge | None = None
        self._jobs: SessionJobs | None = None
        self._registration: Registration | None = None
        _disable_log_capture_if_possible()
        tell_panics_apart()

    def __repr__(self) -> str:
        return f"<Service {self.service_id} [{len(self.jobs)} jobs]>"

    def on_invite(self, handler: Handler) -> Handler:
        """A decorator: call `handler` for each invite.

        Handlers run concurrently. When one returns or raises, its room is left; when it raises, the manager is told
        that the service failed. Raising Decline before join() declines the invite.
        """
        self._handler = handler
        return handler

    def load(self, gauge: LoadGauge) -> LoadGauge:
        """A decorator: send the value of `gauge`, from 0 to 1, as the load with each heartbeat.

        Without a gauge the load is the used share of the capacity. The gauge must be quick: it blocks the event loop.
        """
        self._gauge = gauge
        return gauge

    @property
    def jobs(self) -> tuple[SessionJob, ...]:
        """The running jobs."""
        return self._jobs.live if self._jobs else ()

    @asynccontextmanager
    async def serving(self, settings: ServiceSettings | None = None) -> AsyncIterator[str]:
        """Inside, the service receives invites; gives the registered endpoint.

        Entering waits for the manager; leaving deregisters, ends every job and leaves every room. Raises
        RegistrationRefused, OSError if the port is in use, and pydantic's ValidationError.
        """
        if self._handler is None:
            raise RuntimeError(f"{self.service_id} has no on_invite handler")
        settings = settings or ServiceSettings()
        jobs = SessionJobs(
            self._handler,
            service_id=self.service_id,
            join_timeout=self._join_timeout,
            grace=self._grace,
            capacity=self.capacity,
            livekit_url=settings.service_livekit_url,
        )
        application = invite_endpoint(self._path, settings.invite_keys, jobs.take)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=self._grace)
        await runner.setup()
        try:
            await web.TCPSite(runner, settings.service_host, settings.service_port).start()
            endpoint = settings.endpoint(runner.addresses[0][1], self._path)
            self._jobs = jobs
            manager, entry = settings.session_manager_url, self._entry(endpoint)
            async with registered(manager, entry, self._status, settings.api_key) as registration:
                self._registration = registration
                yield endpoint
        finally:
            await jobs.aclose()
            await runner.cleanup()

    async def drain(self, timeout: float | None = None) -> bool:
        """Stop accepting invites, tell the manager, and wait up to `timeout` seconds (default: drain_timeout) for the
        running jobs to finish. Call it inside serving(). Returns whether all have finished."""
        assert self._jobs is not None, "serving() first"
        assert self._registration is not None
        self._jobs.close()
        at_most = self._drain_timeout if timeout is None else timeout
        log.info("draining", service_id=self.service_id, jobs=len(self.jobs), at_most=at_most)
        with suppress(NotNow, RegistrationRefused):
            await self._registration.beat()
        finished = await self._jobs.wait_until_idle(at_most)
        log.info("drained" if finished else "not_drained", service_id=self.service_id, jobs=len(self.jobs))
        return finished

    def run(self) -> None:
        """Serve with the settings of the command line and the environment. On SIGTERM or SIGINT drain, then exit; on a
        second signal exit at once.

        Exits with a message if the service can't start, and with PANIC_EXIT_CODE after a panic of the native library.
        """
        settings = ServiceSettings.from_command_line()
        warnings.filterwarnings("ignore", category=InsecureKeyLengthWarning)  # the key is the manager's choice
        try:
            asyncio.run(self._serve_until_signal(settings))
        except (RegistrationRefused, OSError) as error:
            raise SystemExit(f"{self.service_id}: {error}") from None
        if has_panicked():
            raise SystemExit(PANIC_EXIT_CODE)

    async def _serve_until_signal(self, settings: ServiceSettings) -> None:
        serving_task = asyncio.current_task()
        assert serving_task is not None
        stop, up = asyncio.Event(), asyncio.Event()

        def on_signal() -> None:
            if stop.is_set() or not up.is_set():
                for number in (signal.SIGINT, signal.SIGTERM):  # ignore further signals: it is already exiting
                    loop.add_signal_handler(number, lambda: None)
                serving_task.cancel()
            stop.set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, on_signal)
        with suppress(asyncio.CancelledError):
            async with self.serving(settings):
                up.set()
                await stop.wait()
                log.info("stopping", service_id=self.service_id, hint="a second signal ends it at once")
                await self.drain(settings.service_drain_timeout)

    def _entry(self, endpoint: str) -> dict[str, Any]:
        entry = {
            "service_id": self.service_id,
            "endpoint": endpoint,
            "metadata": {"type": self.type, "version": self.version},
            "ready_on": self._ready_on,
            "labels": self.labels or None,
            "capacity": self.capacity,
            "lease_seconds": self._lease,
            "shared": self._shared or None,
        }
        return {name: value for name, value in entry.items() if value is not None}

    def _status(self) -> dict[str, Any]:
        """The body of a heartbeat."""
        assert self._jobs is not None
        load = self._jobs.load if self._gauge is None else read(self._gauge)
        return {"draining": self._jobs.closed} | ({} if load is None else {"load": load})


def _disable_log_capture_if_possible() -> None:
    try:
        disable_log_capture()
    except RuntimeError as error:  # harmless: it only costs memory
        log.warning("sdk_log_capture_stays_on", why=str(error))
