"""Runs livekit-agents jobs as coroutines on the process's event loop. The only file that depends on its internals.

AgentServer runs each job in its own process or thread, at 50 or 7 MB per room. Watching a room needs neither.
`AgentServer.run()` creates its process pool privately and emits `worker_started` before it connects; at that moment
`install` replaces the pool with a pool of coroutines that has the same methods. This relies on the exact version pinned
in pyproject.toml; tests/unit/livekit/test_internals.py fails if that changes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import structlog

from manager_agent.livekit.agents_sdk import AgentServer, JobStatus, RunningJobInfo, http_context
from manager_agent.unreachable import why_unreachable

log = structlog.get_logger()

Watch = Callable[[RunningJobInfo], Awaitable[None]]
"""Runs one job to its end. An exception fails the job."""

REPORT_TIMEOUT = 2.0
CONNECT_TIMEOUT, CONNECT_PAUSE = 10.0, 1.0
"""Seconds for one try to connect to LiveKit, and between two tries."""
HEARTBEAT = 10.0
"""Seconds between two pings. A connection that does not answer one within half of that is dead; AgentServer's own
heartbeat takes 45 seconds to find out."""

OTHER_CERTIFICATES = frozenset({"SSL_CERT_FILE", "SSL_CERT_DIR"})
HAS_CERTIFICATES = http_context._has_system_trust_store() and not OTHER_CERTIFICATES & os.environ.keys()
"""Whether the system's certificates are those to trust. Elsewhere AgentServer.run() trusts those of the variable alone,
or sets it to its own."""
WRITTEN_TO_ENVIRONMENT = ("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET")
"""Secrets that AgentServer.run() writes into os.environ for its child processes, of which we have none."""


class CoroutineJob:
    """One running job, in place of AgentServer's JobExecutor."""

    def __init__(self, info: RunningJobInfo) -> None:
        self.running_job = info
        self.status = JobStatus.RUNNING
        self.task: asyncio.Task[None] | None = None

    async def join(self) -> None:
        if self.task is not None:
            await asyncio.wait([self.task])

    async def aclose(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await self.join()


class CoroutinePool:
    """The running jobs, in place of AgentServer's process pool."""

    def __init__(self, server: AgentServer, watch: Watch) -> None:
        self._server = server
        self._watch = watch
        self._jobs: dict[str, CoroutineJob] = {}

    @property
    def processes(self) -> list[CoroutineJob]:
        return list(self._jobs.values())

    def get_by_job_id(self, job_id: str) -> CoroutineJob | None:
        return self._jobs.get(job_id)

    def set_target_idle_processes(self, count: int) -> None:
        """Do nothing: coroutines need no warm-up."""

    async def launch_job(self, info: RunningJobInfo) -> None:
        job = self._jobs[info.job.id] = CoroutineJob(info)
        job.task = asyncio.create_task(self._run(job), name=f"job {info.job.id}")

    async def aclose(self) -> None:
        await asyncio.gather(*(job.aclose() for job in self.processes))

    async def _run(self, job: CoroutineJob) -> None:
        started = asyncio.create_task(self._report(job), name="job started")  # no need to wait before starting
        try:
            await self._watch(job.running_job)
            job.status = JobStatus.SUCCESS
        except Exception:
            log.exception("job_failed", job_id=job.running_job.job.id, room=job.running_job.job.room.name)
            job.status = JobStatus.FAILED
        except asyncio.CancelledError:
            job.status = JobStatus.SUCCESS  # we ended it
            raise
        finally:
            del self._jobs[job.running_job.job.id]
            await started
            await self._report(job)

    async def _report(self, job: CoroutineJob) -> None:
        """Report the job's status to LiveKit. May fail while the connection is down: the queue is full or closed."""
        try:
            async with asyncio.timeout(REPORT_TIMEOUT):
                await self._server._update_job_status(job)  # type: ignore[arg-type]
        except Exception as error:
            log.debug("job_status_not_reported", job_id=job.running_job.job.id, error=repr(error))


class PatientConnector:
    """Connects AgentServer to LiveKit, in place of its HTTP session.

    AgentServer pauses up to 10 seconds between its tries, and waits five minutes for a LiveKit that takes the
    connection and says nothing. For so long a room that was made again would be without a manager."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def ws_connect(self, url: str, **options: Any) -> aiohttp.ClientWebSocketResponse:
        """Connect, and try again as long as LiveKit is away. Raises aiohttp.WSServerHandshakeError: LiveKit is there
        and refuses."""
        tries = 0
        while True:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    connected: aiohttp.ClientWebSocketResponse = await self._http.ws_connect(
                        url, **options | {"heartbeat": HEARTBEAT}
                    )
                    return connected
            except aiohttp.WSServerHandshakeError:
                raise
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                tries += 1
                if tries == 1:
                    log.warning("agent_not_connected", error=why_unreachable(error))
            await asyncio.sleep(CONNECT_PAUSE)

    async def close(self) -> None:
        await self._http.close()


def install(server: AgentServer, watch: Watch, agent_name: str, signing: aiohttp.ClientMiddlewareType) -> None:
    """Make `server`, not running yet, run its jobs with `watch` on this event loop, under exactly this agent name, and
    sign its requests to LiveKit with this middleware."""
    server._agent_name = agent_name  # LIVEKIT_AGENT_NAME_OVERRIDE would override the constructor's argument
    # By default load_fnc runs in the default executor before every response to LiveKit, behind slow DNS lookups.
    server._invoke_load_fnc = _no_load  # type: ignore[method-assign]
    environment = {name: os.environ.get(name) for name in WRITTEN_TO_ENVIRONMENT}
    idle_pools: list[Any] = []

    def replace_pool() -> None:
        for name, value in environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        idle_pools.append(asyncio.ensure_future(server._proc_pool.aclose()))
        server._proc_pool = CoroutinePool(server, watch)  # type: ignore[assignment]
        assert server._http_session is not None, "run() makes it first"
        server._http_session._middlewares = (signing,)
        server._http_session = PatientConnector(server._http_session)  # type: ignore[assignment]

    server.on("worker_started", replace_pool)
    if HAS_CERTIFICATES:  # run() would read them once more; True stands for what aiohttp has read
        http_context._create_ssl_context = lambda: True  # type: ignore[assignment, return-value]


async def _no_load() -> float:
    return 0.0


def is_connected(server: AgentServer) -> bool:
    """Whether the server is registered with LiveKit and connected."""
    return server.id != "unregistered" and not server._connecting


async def disconnect(server: AgentServer) -> None:
    """Close its connections to LiveKit and the socket of its health page, unless it has closed them itself. Its own
    aclose() does so last, and may wait for seconds until LiveKit has assigned a job that was accepted; it does nothing
    for a server that had only begun to run."""
    if server._http_session is not None:
        await server._http_session.close()
    if server._http_server is not None:
        await server._http_server.aclose()
