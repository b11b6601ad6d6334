"""Sessions: what they are, where they are kept, how their rooms are watched. Start with session/session.py."""

from manager_agent.deferred_modules import defer_modules

# Here, so that it comes before all imports of livekit.rtc. These two load numpy, to mix and to play audio.
defer_modules("livekit.rtc", {"audio_mixer": ["AudioMixer"], "media_devices": ["MediaDevices"]})
