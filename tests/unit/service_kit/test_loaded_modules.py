"""What a service loads with the kit, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from scripts.livekit_server import ROOT

pytestmark = pytest.mark.unit

OF_THE_SERVER = ("http_api", "livekit.agents", "livekit.api", "opentelemetry", "prometheus_client", "redis", "requests")
"""Packages that the session manager needs, and a service does not."""


def test_the_kit_loads_nothing_that_only_the_server_needs() -> None:
    script = "import sys, service_kit; service_kit.Service; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.split()
    assert "livekit.rtc" in loaded
    assert [name for name in OF_THE_SERVER if name in loaded] == []
