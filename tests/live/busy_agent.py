"""An agent whose worker is always above its load threshold: it takes no job."""

from __future__ import annotations

from livekit.agents import AgentServer, JobContext, cli

server = AgentServer(load_fnc=lambda: 0.9, load_threshold=0.5)


@server.rtc_session(agent_name="echo-agent")
async def never(_: JobContext) -> None:
    raise AssertionError("a worker above its load threshold takes no job")


if __name__ == "__main__":
    cli.run_app(server)
