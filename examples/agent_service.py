"""An ordinary LiveKit agent without any code for the session manager. Register its agent name as a service:

    curl localhost:8080/api/v1/microservices/register -H 'Content-Type: application/json' -d '{
      "service_id": "echo-agent", "agent_name": "echo-agent", "metadata": {"type": "AGENT", "version": "1.0.0"}}'

Sessions can then require "echo-agent", which LiveKit dispatches instead of it being invited over HTTP. To start it:

    export LIVEKIT_URL=ws://localhost:7880 LIVEKIT_API_KEY=devkey LIVEKIT_API_SECRET=secret
    python -m examples.agent_service start

It only needs livekit-agents.
"""

from __future__ import annotations

import asyncio

from livekit import rtc
from livekit.agents import AgentServer, JobContext, cli

CHAT = "lk.chat"

server = AgentServer()


@server.rtc_session(agent_name="echo-agent")
async def echo(job: JobContext) -> None:
    """Echo the chat messages of the room."""
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
