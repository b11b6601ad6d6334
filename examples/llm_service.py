"""A stand-in for a language model: reports progress while loading, then answers chat messages in the room.

python -m examples.llm_service --port 8102
"""

from __future__ import annotations

import asyncio

from livekit import rtc

from service_kit import Service, SessionJob

CHAT = "lk.chat"
"""The topic of chat messages in LiveKit's frontends."""
JOBS_MAX = 50

service = Service("llm-service", type="LLM", capacity=JOBS_MAX)


@service.on_invite
async def converse(job: SessionJob) -> None:
    room = await job.join(rtc.RoomOptions(auto_subscribe=False))  # it needs no tracks
    for percent in (25, 50, 75):
        job.say_progress(f"context loaded: {percent} %")
        await asyncio.sleep(0.1)
    room.register_text_stream_handler(CHAT, lambda text, writer: job.start(answer(room, text, writer)))
    await job.say_ready()
    await job.ended()


async def answer(room: rtc.Room, text: rtc.TextStreamReader, writer: str) -> None:
    question = await text.read_all()
    await room.local_participant.send_text(f"You said: {question}", topic=CHAT, destination_identities=[writer])


if __name__ == "__main__":
    service.run()
