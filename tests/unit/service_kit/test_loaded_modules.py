"""What a service loads with the kit, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from scripts.repository import ROOT

pytestmark = pytest.mark.unit

OF_THE_SERVER = ("http_api", "livekit.agents", "livekit.api", "opentelemetry", "prometheus_client", "redis", "requests")
"""Packages that the session manager needs, and a service does not."""
SOUND = ("livekit.rtc.audio_mixer", "livekit.rtc.media_devices", "numpy")
"""What a service needs that mixes or plays sound, beside the models of its own."""


def loaded_by(script: str) -> list[str]:
    """The names of the modules that are loaded after the script."""
    whole = f"{script}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", whole], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_kit_loads_nothing_that_only_the_server_needs() -> None:
    loaded = loaded_by("import service_kit; service_kit.Service")
    assert "livekit.rtc" in loaded
    assert [name for name in OF_THE_SERVER if name in loaded] == []


def test_what_mixes_sound_is_loaded_when_it_is_asked_for() -> None:
    loaded = loaded_by("import service_kit; service_kit.Service")
    assert [name for name in SOUND if name in loaded] == []
    mixer = "import service_kit; service_kit.Service; from livekit.rtc import AudioMixer, MediaDevices"
    assert set(SOUND) <= set(loaded_by(mixer))
