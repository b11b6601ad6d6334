"""livekit-agents jobs as coroutines on the loop of the process: the only file that leans on its internals.

AgentServer runs every job in a process or a thread of its own: 50 or 7 MB a room. Watching a room needs neither.
`AgentServer.run()` builds its pool of processes privately and emits `worker_started` before it connects; at that
moment `install` puts a pool of coroutines with the same few methods in its place. That holds for the exact
version pinned in pyproject.toml; tests/unit/livekit/test_internals.py fails when it moves.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from livekit.agents import AgentServer
from livekit.agents.ipc.job_executor import JobStatus
from livekit.agents.job import RunningJobInfo

log = structlog.get_logger()

Watch = Callable[[RunningJobInfo], Awaitable[None]]
"""Does one job until it is over. An exception fails the job."""

REPORT_TIMEOUT = 2.0

WRITTEN_TO_ENVIRONMENT = ("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET")
"""What AgentServer.run() writes into os.environ for its child processes; we have none, and it is secret."""


class CoroutineJob:
    """Stands for one running job, where AgentServer would keep a JobExecutor."""

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
    """Stands where AgentServer keeps its pool of processes."""

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
        """There is nothing to keep warm."""

    async def launch_job(self, info: RunningJobInfo) -> None:
        job = self._jobs[info.job.id] = CoroutineJob(info)
        job.task = asyncio.create_task(self._run(job), name=f"job {info.job.id}")

    async def aclose(self) -> None:
        await asyncio.gather(*(job.aclose() for job in self.processes))

    async def _run(self, job: CoroutineJob) -> None:
        begun = asyncio.create_task(self._report(job), name="job begun")  # LiveKit need not know before we begin
        try:
            await self._watch(job.running_job)
            job.status = JobStatus.SUCCESS
        except Exception:
            log.exception("job_failed", job_id=job.running_job.job.id, room=job.running_job.job.room.name)
            job.status = JobStatus.FAILED
        except asyncio.CancelledError:
            job.status = JobStatus.SUCCESS  # it was to end
            raise
        finally:
            del self._jobs[job.running_job.job.id]
            await begun
            await self._report(job)

    async def _report(self, job: CoroutineJob) -> None:
        """Tells LiveKit how the job is doing. While the connection is down the queue may be full, or closed."""
        try:
            async with asyncio.timeout(REPORT_TIMEOUT):
                await self._server._update_job_status(job)  # type: ignore[arg-type]
        except Exception as error:
            log.debug("job_status_not_reported", job_id=job.running_job.job.id, error=repr(error))


def install(server: AgentServer, watch: Watch, agent_name: str) -> None:
    """Makes `server`, which is not running yet, do its jobs by `watch` on this loop under exactly this name."""
    server._agent_name = agent_name  # LIVEKIT_AGENT_NAME_OVERRIDE would have won over the argument
    # It would run load_fnc in the default executor before every answer to LiveKit: behind slow look-ups of names.
    server._invoke_load_fnc = _no_load  # type: ignore[method-assign]
    environment = {name: os.environ.get(name) for name in WRITTEN_TO_ENVIRONMENT}
    idle_pools: list[Any] = []

    def put_in_place() -> None:
        for name, value in environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        idle_pools.append(asyncio.ensure_future(server._proc_pool.aclose()))
        server._proc_pool = CoroutinePool(server, watch)  # type: ignore[assignment]

    server.on("worker_started", put_in_place)


async def _no_load() -> float:
    return 0.0


def is_connected(server: AgentServer) -> bool:
    """Whether LiveKit knows this server and may send it jobs."""
    return server.id != "unregistered" and not server._connecting
