"""An ordinary LiveKit agent, which knows nothing of the session manager. Its agent name makes it a service:

    curl localhost:8080/api/v1/microservices/register -H 'Content-Type: application/json' -d '{
      "service_id": "echo-agent", "agent_name": "echo-agent", "metadata": {"type": "AGENT", "version": "1.0.0"}}'

after which sessions may require "echo-agent": it is dispatched by LiveKit instead of called. To start it:

    export LIVEKIT_URL=ws://localhost:7880 LIVEKIT_API_KEY=devkey LIVEKIT_API_SECRET=secret
    python -m examples.agent_service start

Needs nothing but livekit-agents.
"""

from __future__ import annotations

import asyncio

from livekit import rtc
from livekit.agents import AgentServer, JobContext, cli

CHAT = "lk.chat"

server = AgentServer()


@server.rtc_session(agent_name="echo-agent")
async def echo(job: JobContext) -> None:
    """Says back what is written in the room."""
    answers: set[asyncio.Task[None]] = set()

    def on_text(text: rtc.TextStreamReader, writer: str) -> None:
        task = asyncio.create_task(answer(job.room, text, writer))
        answers.add(task)
        task.add_done_callback(answers.discard)

    job.room.register_text_stream_handler(CHAT, on_text)
    await job.connect()


async def answer(room: rtc.Room, text: rtc.TextStreamReader, writer: str) -> None:
    await room.local_participant.send_text(await text.read_all(), topic=CHAT, destination_identities=[writer])


if __name__ == "__main__":
    cli.run_app(server)
