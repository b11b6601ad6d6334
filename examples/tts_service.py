"""A stand-in for a speech synthesizer: ready once its audio track is published, then beeps periodically.

python -m examples.tts_service --port 8103
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import numpy as np
from livekit import rtc

from service_kit import Service, SessionJob

SAMPLE_RATE = 24_000
FRAME = SAMPLE_RATE // 50
"""Samples in 20 ms."""
PAUSE = 5.0

service = Service("tts-service", type="TTS")


@service.on_invite
async def speak(job: SessionJob) -> None:
    room = await job.join(rtc.RoomOptions(auto_subscribe=False))  # it only publishes
    async with aclosing(rtc.AudioSource(SAMPLE_RATE, num_channels=1)) as source:
        track = rtc.LocalAudioTrack.create_audio_track("voice", source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        await room.local_participant.publish_track(track, options)
        await job.say_ready()
        job.start(beep_periodically(source))
        await job.ended()


async def beep_periodically(source: rtc.AudioSource) -> None:
    while True:
        await beep(source)
        await asyncio.sleep(PAUSE)


async def beep(source: rtc.AudioSource, hertz: float = 440.0, seconds: float = 0.2) -> None:
    """Play a tone and wait until it has been played."""
    time = np.arange(int(SAMPLE_RATE * seconds)) / SAMPLE_RATE
    samples = (np.sin(2 * np.pi * hertz * time) * 3_000).astype(np.int16)
    for start in range(0, len(samples), FRAME):
        part = samples[start : start + FRAME]
        await source.capture_frame(rtc.AudioFrame(part.tobytes(), SAMPLE_RATE, 1, len(part)))
    await source.wait_for_playout()


if __name__ == "__main__":
    service.run()
