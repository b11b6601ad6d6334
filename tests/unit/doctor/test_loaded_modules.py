"""What the doctor imports: a command that takes long to answer is not asked."""

from __future__ import annotations

import subprocess
import sys

import pytest

from scripts.repository import ROOT

pytestmark = pytest.mark.unit

OF_THE_SERVER = {
    *("http_api.app", "http_api.bootstrap", "http_api.resources", "http_api.streams", "livekit.agents"),
    *("manager_agent.control", "manager_agent.replicas", "manager_agent.store.store", "opentelemetry"),
}


def test_the_doctor_imports_nothing_that_only_the_server_needs() -> None:
    script = "import sys, http_api.cli.doctor, http_api.doctor, http_api.settings.settings; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", script], cwd=ROOT, text=True).split()
    assert "http_api.doctor" in loaded
    assert set(loaded) & OF_THE_SERVER == set()
