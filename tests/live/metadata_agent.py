"""An agent as the documentation of livekit-agents shows it: it parses its own dispatch metadata."""

from __future__ import annotations

import json
import math

from livekit.agents import AgentServer, JobContext, cli

server = AgentServer(load_fnc=lambda: 0.0, load_threshold=math.inf)


@server.rtc_session(agent_name="dialer")
async def dial(job: JobContext) -> None:
    dialed = json.loads(job.job.metadata)
    await job.connect()
    await job.room.local_participant.set_attributes({"phone": dialed["phone_number"], "語": dialed["語"]})


if __name__ == "__main__":
    cli.run_app(server)
