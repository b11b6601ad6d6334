"""A stand-in for speech synthesis: ready once its audio track is published, then it beeps once in a while.

python -m examples.tts_service --port 8103
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import numpy as np
from livekit import rtc

from service_kit import Service, Visit

SAMPLE_RATE = 24_000
FRAME = SAMPLE_RATE // 50
"""Samples in 20 ms."""
PAUSE = 5.0

service = Service("tts-service", type="TTS")


@service.on_invite
async def speak(visit: Visit) -> None:
    room = await visit.join(rtc.RoomOptions(auto_subscribe=False))  # it speaks, it does not listen
    async with aclosing(rtc.AudioSource(SAMPLE_RATE, num_channels=1)) as voice:
        track = rtc.LocalAudioTrack.create_audio_track("voice", voice)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        await room.local_participant.publish_track(track, options)
        await visit.say_ready()
        visit.start(beep_now_and_then(voice))
        await visit.ended()


async def beep_now_and_then(voice: rtc.AudioSource) -> None:
    while True:
        await beep(voice)
        await asyncio.sleep(PAUSE)


async def beep(voice: rtc.AudioSource, hertz: float = 440.0, seconds: float = 0.2) -> None:
    """Plays a tone; returns when it is over."""
    time = np.arange(int(SAMPLE_RATE * seconds)) / SAMPLE_RATE
    samples = (np.sin(2 * np.pi * hertz * time) * 3_000).astype(np.int16)
    for start in range(0, len(samples), FRAME):
        part = samples[start : start + FRAME]
        await voice.capture_frame(rtc.AudioFrame(part.tobytes(), SAMPLE_RATE, 1, len(part)))
    await voice.wait_for_playout()


if __name__ == "__main__":
    service.run()
