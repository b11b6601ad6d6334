"""A stand-in for a speech recognizer: warms up, signals ready, then listens to the user.

python -m examples.asr_service --port 8101
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from livekit import rtc

from service_kit import Service, SessionJob

WARM_UP = 0.3
"""Seconds, as if loading a model."""
FRAMES_A_REPORT = 500

service = Service("asr-service", type="ASR")


@service.on_invite
async def transcribe(job: SessionJob) -> None:
    @job.room.on("track_subscribed")  # before join(), so as not to miss existing tracks
    def on_track(track: rtc.Track, _: rtc.TrackPublication, speaker: rtc.RemoteParticipant) -> None:
        if track.kind == rtc.TrackKind.KIND_AUDIO and speaker.identity == job.invite.session.user_identity:
            job.start(listen(job, track))

    await job.join()
    await asyncio.sleep(WARM_UP)
    await job.say_ready()
    await job.ended()


async def listen(job: SessionJob, track: rtc.Track) -> None:
    """Count audio frames. A real service would transcribe them and send the text to the room."""
    frames = 0
    async with aclosing(rtc.AudioStream(track, sample_rate=16_000, num_channels=1)) as sound:
        async for _ in sound:
            frames += 1
            if frames % FRAMES_A_REPORT == 1:
                job.log.info("hearing", frames=frames)


if __name__ == "__main__":
    service.run()
