"""An agent that takes every job, however busy the machine is: LiveKit offers none to a worker whose load is 1."""

from __future__ import annotations

import math

from livekit.agents import AgentServer, JobContext, cli

server = AgentServer(load_fnc=lambda: 0.0, load_threshold=math.inf)


@server.rtc_session(agent_name="echo-agent")
async def idle(job: JobContext) -> None:
    await job.connect()


if __name__ == "__main__":
    cli.run_app(server)
