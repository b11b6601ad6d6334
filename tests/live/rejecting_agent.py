"""An agent that rejects every job that LiveKit offers it."""

from __future__ import annotations

import math

from livekit.agents import AgentServer, JobContext, JobRequest, cli

server = AgentServer(load_fnc=lambda: 0.0, load_threshold=math.inf)


async def reject(job: JobRequest) -> None:
    print("rejected", job.id, flush=True)
    await job.reject()


@server.rtc_session(agent_name="echo-agent", on_request=reject)
async def rejected(_: JobContext) -> None:
    raise AssertionError("a rejected job is not run")


if __name__ == "__main__":
    cli.run_app(server)
