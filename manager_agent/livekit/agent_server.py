"""The livekit-agents AgentServer whose jobs run as coroutines. Only agent.py imports it, in a thread once the process
serves: that takes a while."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable

import aiohttp

from manager_agent.livekit import jobs
from manager_agent.livekit.agents_sdk import AgentServer, JobContext, JobExecutorType, JobRequest, WorkerPermissions
from manager_agent.proxy_rule import proxy_rule

Decide = Callable[[JobRequest], Awaitable[None]]
"""Accepts or rejects a job."""

HIDDEN = WorkerPermissions(
    can_publish=False, can_subscribe=True, can_publish_data=True, can_update_metadata=False, hidden=True
)
"""Participants don't see the manager; it publishes data only for acknowledgements."""


def make_server(
    *,
    url: str,
    api_key: str,
    api_secret: str,
    agent_name: str,
    decide: Decide,
    watch: jobs.Watch,
    signing: aiohttp.ClientMiddlewareType,
) -> AgentServer:
    """The server, not running yet. `signing` signs its requests to LiveKit."""
    server = AgentServer(
        job_executor_type=JobExecutorType.THREAD,
        multiprocessing_context="spawn",
        num_idle_processes=0,
        load_fnc=lambda: 0.0,
        load_threshold=float("inf"),  # with a finite one, bursts of jobs are rejected
        permissions=HIDDEN,
        max_retry=sys.maxsize,
        ws_url=url,
        http_proxy=proxy_rule().of(url),  # its default ignores NO_PROXY
        api_key=api_key,
        api_secret=api_secret,
        host="127.0.0.1",
        port=0,  # of the agent server's own health page, which is not used
    )
    server.rtc_session(_never_called, agent_name=agent_name, on_request=decide)
    jobs.install(server, watch, agent_name, signing)
    return server


async def _never_called(_: JobContext) -> None:
    """AgentServer requires an entrypoint, but jobs.py runs the jobs."""
